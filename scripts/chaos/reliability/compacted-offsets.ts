import { setTimeout as sleep } from 'node:timers/promises'
import { withKafkaRig, type KafkaRig } from '../kafka/rig.ts'
import { idsIn } from '../kafka/topics.ts'
import { privateKafka } from '../../../test/support/private-servers.ts'
import { uniqueName } from '../../../test/support/unique-name.ts'
import type { Scenario } from '../scenario.ts'

const partitions = 3
const keys = 20

export const compactedOffsets: Scenario = {
  name: 'compacted-offsets',
  what: 'compaction takes most offsets before and behind the position of a group, and transactions leave markers and aborted records',
  promise: 'everything that still exists has its effect once, no gap is taken for a loss, and the lag ends at 0',
  needs: ['postgres'],
  async run(how) {
    const broker = await privateKafka({ settings: ['log.cleaner.backoff.ms=200'] })
    const topicConfig = {
      'cleanup.policy': 'compact',
      'segment.ms': '200',
      'min.cleanable.dirty.ratio': '0.001',
      'max.compaction.lag.ms': '1000',
    }
    const rigOptions = { brokers: broker.url.split(','), partitions, topicConfig, keys }
    const rounds = how.full ? 30 : 4
    try {
      return await withKafkaRig(how, rigOptions, async (rig) => {
        const aborted = { records: 0 }
        const work = rig.once()
        await produceRounds(rig, 2, aborted)
        // A position of its own in the middle of the log, for compaction to work on both sides of.
        const first = rig.start(work)
        await rig.until('a position', async () => (await rig.effects()) > 0 && (await rig.lag()) === 0)
        await first.stop()
        await produceRounds(rig, rounds, aborted)
        await rig.until('compaction', async () => (await idsIn(rig.kafka, rig.name)).length < rig.produced / 2, 60_000)
        const second = rig.start(work)
        // And while it reads.
        await produceRounds(rig, rounds, aborted)
        await rig.until('the end of the lag', async () => (await rig.lag()) === 0).catch(() => {})
        const left = await idsIn(rig.kafka, rig.name)
        const lag = await rig.lag()
        await second.stop()
        const { doubled, outOfOrder } = await rig.figures()
        const handled = await rig.handled()
        return {
          injected: {
            'offsets compacted away': rig.produced - left.length,
            'records of aborted transactions': aborted.records,
          },
          messages: left.length,
          lost: left.filter((id) => !handled.has(id)).length,
          doubled,
          outOfOrder,
          recoveryMs: null,
          violations: [
            ...(lag === 0 ? [] : [`the lag ends at ${lag}`]),
            ...(rig.changed('messages-lost') === 0 ? [] : ['compaction was reported as a loss']),
          ],
          notes: `${handled.size} of ${rig.produced} were still there when it was their turn`,
        }
      })
    } finally {
      await broker.dispose()
    }
  },
}

/** Each round aborts a transaction and closes a segment, which compaction wants. The last message is one that stays. */
async function produceRounds(rig: KafkaRig, rounds: number, aborted: { records: number }): Promise<void> {
  const transactionalId = uniqueName('proof')
  const producer = rig.kafka.producer({ transactionalId, idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  for (let round = 0; round < rounds; round++) {
    await rig.produce(100)
    const transaction = await producer.transaction()
    const messages = Array.from({ length: 10 }, (_, n) => ({ key: `key-${n}`, value: 'x', partition: n % partitions }))
    await transaction.send({ topic: rig.name, messages })
    await transaction.abort()
    aborted.records += messages.length
    await sleep(250)
  }
  await producer.disconnect()
  // kafkajs is silent about batches that compaction has emptied: a log that ends in them would show a lag.
  await rig.produce(partitions, (message, n) => ({
    ...message,
    key: `last-${n % partitions}`,
    partition: n % partitions,
  }))
}
