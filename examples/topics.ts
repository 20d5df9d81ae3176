import { setTimeout as sleep } from 'node:timers/promises'
import type { Admin } from 'kafkajs'

/** Creates topics, and waits for their leaders. A busy broker may not know a topic yet that it has just made. */
export async function createTopics(admin: Admin, topics: readonly string[], partitions = 1): Promise<void> {
  const configs = topics.map((topic) => ({ topic, numPartitions: partitions }))
  await admin.createTopics({ topics: configs, waitForLeaders: false })
  const endsMs = Date.now() + 60_000
  while (!(await areLed(admin, [...topics]))) {
    if (Date.now() > endsMs) throw new Error(`no leaders for ${topics.join(', ')}: is the broker well?`)
    await sleep(50)
  }
}

async function areLed(admin: Admin, topics: string[]): Promise<boolean> {
  const found = await admin.fetchTopicMetadata({ topics }).catch(() => undefined)
  return found?.topics.every(({ partitions }) => partitions.every(({ leader }) => leader >= 0)) ?? false
}
