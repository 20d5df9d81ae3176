import type { Admin, Kafka, Message } from 'kafkajs'
import type { KafkaRecord } from '../../../src/transports/kafkajs/codec.ts'
import { uniqueName } from '../../../test/support/unique-name.ts'
import { createTopics } from '../../../test/support/kafka-topics.ts'

/** Creates a topic, and waits until every partition has a leader. */
export async function createTopic(
  admin: Admin,
  topic: string,
  partitions: number,
  config: Readonly<Record<string, string>> = {},
): Promise<void> {
  const configEntries = Object.entries(config).map(([name, value]) => ({ name, value }))
  await createTopics(admin, [{ topic, numPartitions: partitions, configEntries }])
}

/** The next messages of a run: numbered, so that the order of a key can be told, and each with an id of its own. */
export function numbered(from: number, count: number, keys: number, random: () => number): Message[] {
  return Array.from({ length: count }, (_, at) => ({
    key: `key-${Math.floor(random() * keys)}`,
    value: String(from + at),
    headers: { 'message-id': `m${from + at}` },
  }))
}

/** How many messages a group still has before it, over all partitions of a topic. */
export async function lagOf(admin: Admin, groupId: string, topic: string): Promise<number> {
  const [log, [committed]] = await Promise.all([
    admin.fetchTopicOffsets(topic),
    admin.fetchOffsets({ groupId, topics: [topic] }),
  ])
  return log.reduce((sum, { partition, high, low }) => {
    const offset = Number(committed?.partitions.find((each) => each.partition === partition)?.offset ?? -1)
    return sum + Number(high) - (offset < 0 ? Number(low) : offset)
  }, 0)
}

/** Everything that a topic still has, read by a consumer that has nothing to do with the managed one. */
export async function readTopic(kafka: Kafka, topic: string): Promise<KafkaRecord[]> {
  const admin = kafka.admin()
  await admin.connect()
  const log = await admin.fetchTopicOffsets(topic)
  await admin.disconnect()
  const ends = new Map(log.map(({ partition, high, low }) => [partition, { low: Number(low), high: Number(high) }]))
  const open = new Set([...ends].filter(([, { high, low }]) => high > low).map(([partition]) => partition))
  const records: KafkaRecord[] = []
  if (open.size === 0) return records
  const consumer = kafka.consumer({ groupId: uniqueName('reader'), maxWaitTimeInMs: 100 })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const done = Promise.withResolvers<void>()
  consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload: { partition, lastOffset } }) => {
    if (Number(lastOffset) + 1 >= (ends.get(partition)?.high ?? 0)) open.delete(partition)
    if (open.size === 0) done.resolve()
  })
  await consumer.run({
    eachBatch: async ({ batch: { partition, messages } }) => {
      records.push(...messages.map((message) => ({ topic, partition, message })))
    },
  })
  await done.promise
  await consumer.disconnect()
  return records
}

export async function idsIn(kafka: Kafka, topic: string): Promise<string[]> {
  return (await readTopic(kafka, topic)).map(({ message }) => String(message.headers?.['message-id']))
}
