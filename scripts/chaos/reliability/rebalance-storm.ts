import { setTimeout as sleep } from 'node:timers/promises'
import { withKafkaRig, type RunningMember } from '../kafka/rig.ts'
import type { Scenario } from '../scenario.ts'

const least = 2
const most = 4

export const rebalanceStorm: Scenario = {
  name: 'rebalance-storm',
  what: 'a consumer joins or leaves the group every 5 s (shortened: every 2 s) while messages come in',
  promise: 'nothing lost, no effect twice, every key in order; what is delivered again is counted',
  needs: ['kafka', 'postgres'],
  run: (how) =>
    withKafkaRig(how, { partitions: 12, keys: 200 }, async (rig) => {
      const everyMs = how.full ? 5000 : 2000
      const changes = Math.max(how.full ? 120 : 10, Math.ceil((how.minutes * 60_000) / everyMs))
      const work = rig.once({ before: () => sleep(5) })
      const injected = { joined: 0, left: 0 }
      const members: RunningMember[] = []
      const join = (): void => {
        members.push(rig.start(work, { concurrency: 12 }))
      }
      for (let n = 0; n < least; n++) join()
      await rig.produce(500)
      for (let n = 0; n < changes; n++) {
        const endsMs = performance.now() + everyMs
        const joins = members.length <= least || (members.length < most && rig.random() < 0.5)
        if (joins) {
          injected.joined++
          join()
        } else {
          injected.left++
          const [leaving] = members.splice(Math.floor(rig.random() * members.length), 1)
          await leaving?.stop()
        }
        // Never without work, and never so much that the end has to wait for it.
        while (performance.now() < endsMs) {
          if ((await rig.lag()) < 500) await rig.produce(200)
          await sleep(100, undefined, { signal: how.signal })
        }
      }
      await rig.settle(rig.produced)
      const rebalances = rig.changed('joined')
      return {
        injected,
        ...(await rig.figures()),
        recoveryMs: null,
        notes: `${rebalances} times a member took its partitions, ${rig.counts.deliveries - rig.produced} redelivered`,
      }
    }),
}
