import type { SeekEntry } from 'kafkajs'
import { withKafkaRig } from '../kafka/rig.ts'
import { idsIn } from '../kafka/topics.ts'
import type { Scenario } from '../scenario.ts'

const partitions = 4
const perRound = 400
const concurrency = 16
const alarms: ReadonlySet<string> = new Set(['messages-lost', 'out-of-range'])

export const offsetOutOfRange: Scenario = {
  name: 'offset-out-of-range',
  what: 'retention moves the start of the log past the position of a group, while it is away and while it reads',
  promise: 'the loss is reported for every partition, and everything that still exists has its effect once',
  needs: ['kafka', 'postgres'],
  run: (how) =>
    withKafkaRig(how, { partitions, keys: 40 }, async (rig) => {
      const rounds = how.full ? 20 : 3
      const injected = { 'offsets deleted while away': 0, 'offsets deleted in front of a reader': 0 }
      const mustHave = new Set<string>()
      const violations: string[] = []
      let alarmed = 0
      let gate = Promise.resolve()
      const work = rig.once({ before: () => gate })
      // Little in memory, so that a reader has most of the log still before it.
      const start = () =>
        rig.start(work, { concurrency, buffer: 20, ahead: 20, settings: { maxBytesPerPartition: 1024 } })

      async function produce(): Promise<void> {
        // A fetch never splits what was sent as one.
        for (let n = 0; n < perRound; n += 20) await rig.produce(20)
      }

      /** Deletes up to somewhere in the last half of what is not handled yet; gives how much that was. */
      async function retention(): Promise<number> {
        const log = await rig.admin.fetchTopicOffsets(rig.name)
        const [group] = await rig.admin.fetchOffsets({ groupId: rig.name, topics: [rig.name] })
        let deleted = 0
        const moved = log.map(({ partition, high, low }): SeekEntry => {
          const committed = Number(group?.partitions.find((each) => each.partition === partition)?.offset)
          const position = Math.max(committed, Number(low))
          const to = Number(high) - Math.floor((Number(high) - position) * rig.random() * 0.5)
          deleted += to - position
          return { partition, offset: String(to) }
        })
        await rig.admin.deleteTopicRecords({ topic: rig.name, partitions: moved })
        for (const id of await idsIn(rig.kafka, rig.name)) mustHave.add(id)
        return deleted
      }

      async function allAlarmed(since: number, when: string): Promise<void> {
        const told = (): Set<unknown> =>
          new Set(
            rig.changes
              .slice(since)
              .filter(({ change }) => alarms.has(change))
              .map(({ detail }) => detail?.['partition']),
          )
        await rig.until('the alarms', () => told().size === partitions, 15_000).catch(() => {})
        alarmed += told().size
        if (told().size < partitions) violations.push(`${told().size} of ${partitions} partitions reported, ${when}`)
      }

      for (let round = 0; round < rounds; round++) {
        await produce()
        const reader = start()
        await rig.until('a position', async () => (await rig.lag()) === 0)
        await reader.stop()
        await produce()
        injected['offsets deleted while away'] += await retention()
        let since = rig.changes.length
        const next = start()
        await rig.until('what is left', async () => (await rig.lag()) === 0)
        await allAlarmed(since, 'after the group was away')

        const opened = Promise.withResolvers<void>()
        gate = opened.promise
        since = rig.changes.length
        const before = rig.counts.deliveries
        await produce()
        await rig.until('a reader that stands still', () => rig.counts.deliveries >= before + concurrency)
        injected['offsets deleted in front of a reader'] += await retention()
        opened.resolve()
        await rig.until('what is left', async () => (await rig.lag()) === 0)
        await allAlarmed(since, 'in front of a reader')
        await next.stop()
      }
      const { doubled, outOfOrder } = await rig.figures()
      const handled = await rig.handled()
      return {
        injected,
        messages: mustHave.size,
        lost: [...mustHave].filter((id) => !handled.has(id)).length,
        doubled,
        outOfOrder,
        recoveryMs: null,
        violations,
        notes: `${alarmed} alarms for ${rounds * partitions * 2} losses`,
      }
    }),
}
