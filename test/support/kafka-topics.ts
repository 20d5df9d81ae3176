import { setTimeout as sleep } from 'node:timers/promises'
import type { Admin, ITopicConfig } from 'kafkajs'

const withinMs = 60_000

/**
 * Creates topics, and comes back once every partition has a leader. kafkajs can wait by itself, but a busy broker says
 * for a moment that it does not know the topic that it has just made, and kafkajs throws then.
 */
export async function createTopics(admin: Admin, topics: readonly ITopicConfig[]): Promise<void> {
  await admin.createTopics({ topics: [...topics], waitForLeaders: false })
  const names = topics.map(({ topic }) => topic)
  const wanted = topics.reduce((sum, { numPartitions = 1 }) => sum + numPartitions, 0)
  const deadline = Date.now() + withinMs
  while ((await led(admin, names)) < wanted) {
    if (Date.now() > deadline) throw new Error(`no leaders within ${withinMs} ms: ${names.join(', ')}`)
    await sleep(50)
  }
}

/** How many partitions have a leader; none while the broker does not know one of the topics. */
async function led(admin: Admin, topics: string[]): Promise<number> {
  const found = await admin.fetchTopicMetadata({ topics }).catch(() => undefined)
  return found?.topics.flatMap(({ partitions }) => partitions).filter(({ leader }) => leader >= 0).length ?? 0
}
