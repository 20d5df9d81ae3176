import { describe, expect, it } from 'vitest'
import { scenarios } from '../../scripts/chaos/simulated/scenarios.ts'
import { replaying } from '../../src/testing/explorer/choosers.ts'
import { search } from '../../src/testing/explorer/explorer.ts'
import { runSchedule } from '../../src/testing/world/world.ts'
import { fromLine } from '../../src/testing/explorer/schedule.ts'
import { ambient } from '../../src/testing/world/ambient.ts'

/** The first of the schedules that `npm run chaos:simulate` runs by the million. */
describe('our own stack in the simulated world', () => {
  it.for(Object.entries(scenarios))('breaks no invariant: %s', { timeout: 60_000 }, async ([, build]) => {
    const real = ambient()
    try {
      const { found, schedules } = await search(await build(), { seeds: 60 })
      expect(found?.run.simulation.violation).toBeUndefined()
      expect(schedules).toBe(61)
    } finally {
      real()
    }
  })
})

/** Schedules that broke an invariant once, each shrunk by the explorer. */
const broke: readonly (readonly [scenario: string, line: string, what: string])[] = [
  [
    'transaction-wide',
    'm5 c2 p2; run send m1~0 → send m4; run send m1~1 → B.poll; run send m1~2 → send m5; run send m3~3 → B.poll⏎; run send m3~4 → B.poll#2; hold B.claim m5 +3; stop A.poll#2; hold B.BEGIN m5⏎ +1; pause B.claim m4 12000ms +0; hold A′.claim m4 +1; hold A′.poll#6⏎ +1; pause A′.poll#6⏎ 45000ms +0; rebalance B.claim m3; rebalance B.poll#8; pause B.poll#10⏎ 12000ms +0; outlive B.BEGIN m2; stop B.claim m4#4⏎; slow B′.insert into orders m3⏎ 5000ms',
    'a handler started after a standstill, under a lease that was over',
  ],
  [
    'breaker-lookalike',
    'm2 c1 p1; poison send m1; poison send m2',
    'poison took every probe of a circuit, and calls without an id none',
  ],
]

it.for(broke.map(([name, line, what]) => [what, name, line] as const))(
  'does not break again: %s',
  { timeout: 60_000 },
  async ([, name, line]) => {
    const real = ambient()
    try {
      const { size, deviations } = fromLine(line)
      const scenario = await scenarios[name]?.()
      if (scenario === undefined) throw new RangeError(`there is no scenario ${name}`)
      const { simulation } = await runSchedule({ ...scenario, size }, replaying(deviations))
      expect(simulation.violation).toBeUndefined()
    } finally {
      real()
    }
  },
)
