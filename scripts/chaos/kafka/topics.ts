import { setTimeout as sleep } from 'node:timers/promises'
import type { Admin, Message } from 'kafkajs'

/** Creates a topic, and waits until every partition has a leader. */
export async function createTopic(
  admin: Admin,
  topic: string,
  partitions: number,
  config: Readonly<Record<string, string>> = {},
): Promise<void> {
  const configEntries = Object.entries(config).map(([name, value]) => ({ name, value }))
  await admin.createTopics({ topics: [{ topic, numPartitions: partitions, configEntries }], waitForLeaders: false })
  for (let tries = 0; tries < 50; tries++) {
    const found = await admin.fetchTopicMetadata({ topics: [topic] }).catch(() => undefined)
    if (found?.topics[0]?.partitions.every(({ leader }) => leader >= 0) === true) return
    await sleep(100)
  }
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
