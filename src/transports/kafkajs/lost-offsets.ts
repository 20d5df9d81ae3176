import type { Admin, Kafka } from 'kafkajs'
import type { Gap, Place, Position } from '../../consumer/log/log-client.ts'

type LossReport = (change: 'messages-lost' | 'out-of-range' | 'gap', detail: Readonly<Record<string, unknown>>) => void

/** A partition that is new to this member. */
export interface Checked extends Place {
  /** False once the partition went elsewhere: what is found out then is about somebody else's work. */
  readonly isOwned: () => boolean
  /** Where its first fetch began, once it is known. */
  readonly begunAt: () => number | undefined
  /** The position that the group had committed was looked at: it may be overwritten. */
  readonly onChecked: () => void
}

/** Watches for what kafkajs passes over in silence: retention that overtook the group, a topic that was made anew. */
export class LostOffsets {
  readonly #kafka: Pick<Kafka, 'admin'>
  readonly #groupId: string
  readonly #report: LossReport
  #connecting: Promise<Admin> | undefined
  #work: Promise<void> = Promise.resolve()

  constructor(kafka: Pick<Kafka, 'admin'>, groupId: string, report: LossReport) {
    this.#kafka = kafka
    this.#groupId = groupId
    this.#report = report
  }

  /** Compares where the group stands with what the log still has. */
  check(partitions: readonly Checked[]): void {
    const topics = Map.groupBy(partitions, ({ topic }) => topic)
    for (const [topic, some] of topics) {
      this.#later((admin) => this.#compare(admin, topic, some))
      // Also where the brokers did not say: that is no reason to commit nothing for ever.
      this.#work = this.#work.then(() => some.forEach(({ onChecked }) => onChecked()))
    }
  }

  /** Says what became of offsets that were not delivered: compacted away, or gone for good. */
  explain({ topic, partition, from, to }: Gap): void {
    this.#later(async (admin) => {
      const log = (await admin.fetchTopicOffsets(topic)).find((each) => each.partition === partition)
      const low = Number(log?.low ?? 0)
      if (low > from) this.#report('messages-lost', { topic, partition, from, to: Math.min(low, to) })
      else this.#report('gap', { topic, partition, from, to })
    })
  }

  /** The ends of those partitions for which the group has committed nothing. Rejects where the brokers do not say. */
  async endsOfNew(places: readonly Place[]): Promise<readonly Position[]> {
    try {
      const admin = await this.#connected()
      const topics = [...new Set(places.map(({ topic }) => topic))]
      const committed = await admin.fetchOffsets({ groupId: this.#groupId, topics })
      const isNew = ({ topic, partition }: Place): boolean =>
        committed.some(
          (each) =>
            each.topic === topic && each.partitions.some((one) => one.partition === partition && one.offset === '-1'),
        )
      const ends = await Promise.all(
        topics.map(async (topic) =>
          (await admin.fetchTopicOffsets(topic)).map(({ partition, high }) => ({
            topic,
            partition,
            position: Number(high),
          })),
        ),
      )
      const wanted = places.filter(isNew)
      return ends
        .flat()
        .filter((end) => wanted.some(({ topic, partition }) => topic === end.topic && partition === end.partition))
    } catch (error) {
      await this.#disconnect()
      throw error
    }
  }

  async close(): Promise<void> {
    await this.#work
    await this.#disconnect()
  }

  /** In turn and in the background: what cannot be found out now is no reason to stop. */
  #later(task: (admin: Admin) => Promise<void>): void {
    this.#work = this.#work.then(async () => task(await this.#connected())).catch(() => this.#disconnect())
  }

  #connected(): Promise<Admin> {
    return (this.#connecting ??= this.#connect())
  }

  async #connect(): Promise<Admin> {
    const admin = this.#kafka.admin({ retry: { retries: 1 } })
    try {
      await admin.connect()
      return admin
    } catch (error) {
      await admin.disconnect().catch(() => {})
      throw error
    }
  }

  async #disconnect(): Promise<void> {
    const connecting = this.#connecting
    this.#connecting = undefined
    const admin = await connecting?.catch(() => undefined)
    await admin?.disconnect().catch(() => {})
  }

  async #compare(admin: Admin, topic: string, partitions: readonly Checked[]): Promise<void> {
    // One after the other. The end of a log only grows, so a position that was read first cannot be beyond it by mistake.
    const committed = await admin.fetchOffsets({ groupId: this.#groupId, topics: [topic] })
    const kept = await admin.fetchTopicOffsets(topic)
    const positions = committed.flatMap((each) => each.partitions)
    for (const checked of partitions) {
      const { partition } = checked
      const log = kept.find((each) => each.partition === partition)
      const position = positions.find((each) => each.partition === partition)
      if (log !== undefined && position !== undefined && checked.isOwned())
        this.#judge(checked, Number(position.offset), Number(log.low), Number(log.high))
    }
  }

  #judge({ topic, partition, begunAt }: Checked, position: number, low: number, high: number): void {
    // -1 is "never committed"; -2 is what kafkajs writes when it starts over.
    if (position === -2) return this.#report('out-of-range', { topic, partition, low, high })
    if (position < 0) return
    if (position > high) return this.#report('out-of-range', { topic, partition, position, low, high })
    // Retention may pass what was fetched meanwhile: then nothing is lost.
    const from = begunAt() ?? low
    if (position < low && from > position) this.#report('messages-lost', { topic, partition, from: position, to: from })
  }
}
