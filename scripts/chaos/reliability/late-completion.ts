import type { Delivery, Middleware } from '../../../src/core/delivery.ts'
import { neverAborts } from '../../../src/core/signals.ts'
import { breaks, brokenStore } from '../kafka/breaks.ts'
import { withKafkaRig } from '../kafka/rig.ts'
import type { Scenario } from '../scenario.ts'

const partitions = 8
const perPartition = 10

export const lateCompletion: Scenario = {
  name: 'late-completion',
  what: 'a handler outlives its partition, and completes after another member has handled its message; half of them never learn that they are late',
  promise:
    'every late completion is refused and its effect rolled back: no effect twice, nothing lost, every key in order',
  needs: ['kafka', 'postgres'],
  breaks: { 'token-check': breaks['token-check'] },
  run: (how) =>
    withKafkaRig(how, { partitions, keys: 100 }, async (rig) => {
      const rounds = how.full ? 30 : 3
      const late = new Set<string>()
      const unaware = new Set<string>()
      let gate = Promise.withResolvers<void>()
      let standing = 0
      let ended = 0
      let refused = 0
      let ignorants = 0

      /** As if its process had stood still meanwhile: only the fence can refuse it. */
      const ignorant: Middleware = (next) => (delivery) => {
        if (!unaware.delete(delivery.message.id)) return next(delivery)
        ignorants++
        return next({ ...delivery, signal: neverAborts })
      }

      const work = rig.once({
        store: brokenStore(rig.store, how.broken),
        around: ignorant,
        async before({ message }) {
          if (!late.delete(message.id)) return
          standing++
          await gate.promise
        },
      })
      const step = (delivery: Delivery<Uint8Array | null>) =>
        work.step(delivery).then(
          (outcome) => {
            if (delivery.signal.aborted) ended++
            return outcome
          },
          (error: unknown) => {
            if (delivery.signal.aborted) [ended, refused] = [ended + 1, refused + 1]
            throw error
          },
        )

      const start = () => rig.start({ ...work, step }, { drainMs: 300 })
      let member = start()
      for (let round = 1; round <= rounds; round++) {
        const from = rig.produced
        const partitionOf = (n: number): number => Math.floor((n - from) / perPartition)
        // One in each partition stands still; the others of its partition go on around it.
        for (let partition = 0; partition < partitions; partition++) {
          const id = `m${from + partition * perPartition + Math.floor(rig.random() * perPartition)}`
          late.add(id)
          if (partition % 2 === 0) unaware.add(id)
        }
        await rig.produce(partitions * perPartition, (message, n) => {
          const partition = partitionOf(n)
          return { ...message, key: `${partition}-${String(message.key)}`, partition }
        })
        await rig.until('all of them stand still', () => standing === round * partitions)
        const next = start()
        await member.stop()
        await rig.until('the others handle them', async () => (await rig.effects()) === rig.produced)
        gate.resolve()
        await rig.until('the late ones came to their end', () => ended === round * partitions)
        gate = Promise.withResolvers<void>()
        member = next
      }
      await rig.settle(rig.produced)
      return {
        injected: { 'handlers that outlived their partition': ended, 'of them unaware of it': ignorants },
        ...(await rig.figures()),
        recoveryMs: null,
        violations: refused === ended ? [] : [`${ended - refused} of ${ended} late completions were not refused`],
      }
    }),
}
