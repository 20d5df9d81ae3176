import type { Admin, Kafka } from 'kafkajs'
import type { Gap, Owned } from './assignment.ts'

type Report = (change: 'messages-lost' | 'out-of-range' | 'gap', detail: Readonly<Record<string, unknown>>) => void

export interface LostOffsets {
  /** Compares where the group stands with what the log still has, when partitions are new to this member. */
  check(partitions: readonly Owned[]): void
  /** Says what became of offsets that were not delivered: compacted away, or gone for good. */
  explain(gap: Gap): void
  close(): Promise<void>
}

/** Watches for what kafkajs passes over in silence: retention that overtook the group, a topic that was made anew. */
export function lostOffsets(kafka: Pick<Kafka, 'admin'>, groupId: string, report: Report): LostOffsets {
  let connecting: Promise<Admin> | undefined
  let work: Promise<void> = Promise.resolve()

  function connected(): Promise<Admin> {
    return (connecting ??= (async () => {
      const admin = kafka.admin({ retry: { retries: 1 } })
      await admin.connect()
      return admin
    })())
  }

  /** In turn and in the background: what cannot be found out now is no reason to stop. */
  function later(task: (admin: Admin) => Promise<void>): void {
    work = work
      .then(async () => task(await connected()))
      .catch(() => {
        connecting = undefined
      })
  }

  async function compare(admin: Admin, topic: string, partitions: ReadonlySet<number>): Promise<void> {
    const [committed, kept] = await Promise.all([
      admin.fetchOffsets({ groupId, topics: [topic] }),
      admin.fetchTopicOffsets(topic),
    ])
    for (const { partition, offset } of committed.flatMap((each) => each.partitions)) {
      const log = kept.find((each) => each.partition === partition)
      if (log === undefined || !partitions.has(partition)) continue
      const position = Number(offset)
      const [low, high] = [Number(log.low), Number(log.high)]
      // -1 is "never committed"; -2 is what kafkajs writes when it starts over.
      if (position === -2) report('out-of-range', { topic, partition, low, high })
      else if (position >= 0 && position < low) report('messages-lost', { topic, partition, from: position, to: low })
      else if (position > high) report('out-of-range', { topic, partition, position, low, high })
    }
  }

  return {
    check(partitions) {
      const topics = new Map<string, Set<number>>()
      for (const { topic, partition } of partitions) topics.set(topic, (topics.get(topic) ?? new Set()).add(partition))
      for (const [topic, wanted] of topics) later((admin) => compare(admin, topic, wanted))
      work = work.then(() => {
        for (const owned of partitions) owned.verified = true
      })
    },
    explain({ topic, partition, from, to }) {
      later(async (admin) => {
        const log = (await admin.fetchTopicOffsets(topic)).find((each) => each.partition === partition)
        const low = Number(log?.low ?? 0)
        if (low > from) report('messages-lost', { topic, partition, from, to: Math.min(low, to) })
        else report('gap', { topic, partition, from, to })
      })
    },
    async close() {
      await work
      const admin = await connecting?.catch(() => undefined)
      await admin?.disconnect().catch(() => {})
    },
  }
}
