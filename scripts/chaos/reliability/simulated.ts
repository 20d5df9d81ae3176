import type { Scenario } from '../scenario.ts'
import { runScript } from '../../../test/support/run-script.ts'

export const simulated: Scenario = {
  name: 'simulated',
  what: 'our own stack in the simulated world, with every fault of the kit, checked after every step',
  promise: 'no schedule breaks an invariant',
  needs: [],
  async run(how) {
    const args = ['--from', `${how.seed}`, '--schedules', how.full ? '1000000' : '20000']
    const { code, lines } = await runScript('simulate.ts', args, how)
    const last = lines.map((line) => /^(\d+) schedules in \d+ s, (\d+) per second/.exec(line)).find((line) => line)
    const schedules = Number(last?.[1] ?? 0)
    return {
      injected: { schedules },
      ...{ messages: schedules, lost: 0, doubled: 0, outOfOrder: null, recoveryMs: null },
      violations: code === 0 ? [] : ['a schedule broke an invariant, see the output'],
      notes: `schedules in place of messages; ${last?.[2] ?? '?'} a second`,
    }
  },
}
