import { setTimeout as sleep } from 'node:timers/promises'
import type { Kafka } from 'kafkajs'

/** Looks at a group's committed positions over and over, and counts how often one went back. */
export async function watchCommits(kafka: Kafka, groupId: string, topic: string, over: AbortSignal): Promise<number> {
  const admin = kafka.admin({ retry: { retries: 2 } })
  const highest = new Map<number, number>()
  let backwards = 0
  while (!over.aborted) {
    try {
      await admin.connect()
      const [found] = await admin.fetchOffsets({ groupId, topics: [topic] })
      for (const { partition, offset } of found?.partitions ?? []) {
        const position = Number(offset)
        // Without a commit there is nothing to fall behind.
        if (position < 0) continue
        if (position < (highest.get(partition) ?? 0)) backwards++
        highest.set(partition, position)
      }
    } catch {
      // The broker is away: later.
    }
    await sleep(100, undefined, { signal: over }).catch(() => {})
  }
  await admin.disconnect().catch(() => {})
  return backwards
}
