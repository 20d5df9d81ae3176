import type { Consumer, EachBatchPayload, Kafka, KafkaMessage } from 'kafkajs'
import type { Generation, LogHost, LogMembership, LogSession, Place, Position } from '../../consumer/log/log-client.ts'
import { sleep } from '../../core/clock.ts'
import { badOption } from '../../core/options.ts'
import type { KafkaGroupSettings } from '../kafka-group.ts'
import { BeatWatch } from './beat-watch.ts'
import type { KafkajsConsumerOptions } from './consumer-options.ts'
import { FetchWatch } from './fetch-watch.ts'
import { joinGate } from './join-gate.ts'
import { beyondHelp } from './kafka-errors.ts'
import { readBatch } from './read-batch.ts'
import { LostOffsets } from './lost-offsets.ts'

export interface KafkajsMembershipOptions extends KafkaGroupSettings {
  readonly kafka: Pick<Kafka, 'consumer' | 'admin'>
  readonly settings: NonNullable<KafkajsConsumerOptions['settings']>
}

const startAgainMs = 500
// An answer to a heartbeat takes no longer. With a short session the group would be silent before.
const longestBeatMs = 10_000

/** What is known of the partitions of one generation. */
interface Ownership {
  readonly generation: Generation<KafkaMessage>
  /** By partition: where its first fetch began; unknown before that. */
  readonly begunAt: Map<string, number>
}

/** The membership of one consumer of kafkajs: its joins, its batches and its commits. */
export class KafkajsMembership implements LogMembership {
  readonly #options: KafkajsMembershipOptions
  readonly #host: LogHost<KafkaMessage>
  readonly #lost: LostOffsets
  readonly #fetches: FetchWatch
  readonly #beats: BeatWatch
  /** Partitions with room again, by the `eachBatch` that waits for it. */
  readonly #room = new Map<string, () => void>()
  /** Partitions whose committed position was compared with the log. */
  readonly #checked = new Set<string>()
  #consumer: Consumer | undefined
  /** The payload of the present run of kafkajs: one of an earlier run would keep a ghost in the group. */
  #api: EachBatchPayload | undefined
  #ownership: Ownership | undefined
  #owned: ReadonlySet<string> = new Set()
  #member: string | undefined
  #isQuiet = false

  constructor(options: KafkajsMembershipOptions, host: LogHost<KafkaMessage>) {
    this.#options = options
    this.#host = host
    this.#fetches = new FetchWatch(options.clock, options.maxWaitMs)
    this.#beats = new BeatWatch(options.clock, Math.min(longestBeatMs, options.sessionMs / 2))
    this.#lost = new LostOffsets(options.kafka, options.groupId, (change, detail) => host.report(change, detail))
  }

  async begin(): Promise<void> {
    const consumer = await this.#create()
    this.#consumer = consumer
    this.#watch(consumer)
    try {
      await consumer.connect()
      // From the beginning also when the position is out of range: otherwise kafkajs jumps to the end of the log.
      await consumer.subscribe({ topics: [...this.#options.topics], fromBeginning: true })
      await consumer.run({
        autoCommit: false,
        eachBatchAutoResolve: false,
        partitionsConsumedConcurrently: 1,
        eachBatch: (payload) => this.#eachBatch(payload),
      })
    } catch (error) {
      await this.leave()
      throw error
    }
  }

  async #create(): Promise<Consumer> {
    const { kafka, groupId, sessionMs, rebalanceMs, heartbeatMs, maxWaitMs, settings } = this.#options
    // At run time only here, and from the service's own copy.
    const { default: kafkajs } = await import('kafkajs')
    const { partitionAssigners = [kafkajs.PartitionAssigners.roundRobin], ...rest } = settings
    const [first, ...others] = partitionAssigners
    if (first === undefined)
      throw badOption('kafkajsConsumer', 'settings.partitionAssigners', 'not empty', partitionAssigners)
    return kafka.consumer({
      allowAutoTopicCreation: false,
      ...rest,
      groupId,
      sessionTimeout: sessionMs,
      rebalanceTimeout: rebalanceMs,
      heartbeatInterval: heartbeatMs,
      maxWaitTimeInMs: maxWaitMs,
      partitionAssigners: [joinGate(first, () => this.#beforeJoin()), ...others],
    })
  }

  #watch(consumer: Consumer): void {
    const { events } = consumer
    consumer.on(events.GROUP_JOIN, ({ payload }) => this.#onJoin(payload.memberId, payload.memberAssignment))
    consumer.on(events.FETCH_START, ({ payload }) => this.#fetches.started(payload.nodeId))
    consumer.on(events.FETCH, ({ payload }) => this.#fetches.answered(payload.nodeId))
    consumer.on(events.HEARTBEAT, () => this.#ownership?.generation.heard())
    consumer.on(events.STOP, () => {
      this.#ownership?.generation.ended()
      this.#forget()
    })
    consumer.on(events.CRASH, ({ payload: { error, restart } }) => {
      this.#forget()
      this.#host.crashed(beyondHelp(error), !restart)
    })
    consumer.on(events.END_BATCH_PROCESS, ({ payload: { topic, partition, batchSize, lastOffset } }) => {
      if (batchSize === 0) this.#onEmpty({ topic, partition }, Number(lastOffset))
    })
  }

  /** Everything before a join has to be committed by then: afterwards the group takes nothing of the old generation. */
  async #beforeJoin(): Promise<void> {
    this.#releaseRoom()
    await this.#ownership?.generation.finish('join')
  }

  #onJoin(member: string, assignment: Readonly<Record<string, readonly number[]>>): void {
    const places = Object.entries(assignment).flatMap(([topic, partitions]) =>
      partitions.map((partition) => ({ topic, partition })),
    )
    this.#fetches.clear()
    this.#beats.clear()
    const isSame = member === this.#member && this.#ownership?.generation.isOver === false
    const before = isSame ? this.#owned : new Set()
    this.#member = member
    this.#owned = new Set(places.map(idOf))
    const fresh = places.filter((place) => !before.has(idOf(place)))
    for (const place of fresh) this.#checked.delete(idOf(place))
    const session = new KafkajsSession(this)
    const generation = this.#host.joined(member, places, session)
    const ownership: Ownership = { generation, begunAt: new Map() }
    session.generation = generation
    this.#ownership = ownership
    if (this.#options.startFrom === 'latest' && fresh.length > 0) void this.#startAtEnd(fresh, generation)
    this.#lost.check(
      fresh.map((place) => ({
        ...place,
        isOwned: () => this.#owned.has(idOf(place)),
        begunAt: () => ownership.begunAt.get(idOf(place)),
        onChecked: () => this.#checked.add(idOf(place)),
      })),
    )
  }

  /**
   * Begins behind what the log has, where the group has committed nothing. kafkajs' own way to do that, `fromBeginning:
   * false`, also jumps to the end whenever a position is out of range, and so skips messages.
   */
  async #startAtEnd(places: readonly Place[], generation: Generation<KafkaMessage>): Promise<void> {
    this.#pause(places)
    const isOver = (): boolean => generation.isOver || this.#isQuiet
    while (!isOver()) {
      try {
        const ends = await this.#lost.endsOfNew(places)
        if (isOver()) return
        for (const { topic, partition, position } of ends) {
          this.#consumer?.seek({ topic, partition, offset: String(position) })
          // Committed at once, so that it is the start for every later owner too.
          generation.accept({ topic, partition, records: [], from: position, first: position, last: position - 1 })
        }
        for (const place of places) this.resume(place)
        return
      } catch {
        await sleep(this.#options.clock, startAgainMs)
      }
    }
  }

  #pause(places: readonly Place[]): void {
    this.#consumer?.pause(places.map(({ topic, partition }) => ({ topic, partitions: [partition] })))
  }

  #forget(): void {
    this.#fetches.clear()
    this.#beats.clear()
    this.#api = undefined
    this.#ownership = undefined
    this.#owned = new Set()
    this.#releaseRoom()
  }

  async #eachBatch(payload: EachBatchPayload): Promise<void> {
    const { batch } = payload
    this.#api = payload
    // Nothing is resolved: the next owner of the partition fetches it again.
    if (this.#isQuiet) return
    const read = readBatch(batch)
    const begunAt = this.#ownership?.begunAt
    if (begunAt !== undefined && !begunAt.has(idOf(read))) begunAt.set(idOf(read), read.from)
    const accepted = this.#ownership?.generation.accept(read) ?? 'refused'
    if (accepted === 'refused') return sleep(this.#options.clock, this.#options.maxWaitMs)
    // Moves the position of the fetches only; what is committed is ours.
    payload.resolveOffset(batch.lastOffset())
    if (accepted === 'full') await this.#roomIn(read)
  }

  /** Kept open for as long as a fetch takes, so that it goes on at once; then paused. */
  async #roomIn(place: Place): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    this.#room.set(idOf(place), () => resolve(true))
    const cancel = this.#options.clock.after(this.#options.maxWaitMs, () => resolve(false))
    const hasRoom = await promise
    cancel()
    this.#room.delete(idOf(place))
    if (!hasRoom) this.#pause([place])
  }

  #releaseRoom(): void {
    for (const release of this.#room.values()) release()
  }

  /** A batch without records for us, such as transaction markers, never reaches `eachBatch`. */
  #onEmpty(place: Place, last: number): void {
    const generation = this.#ownership?.generation
    if (generation === undefined || last < 0) return
    const from = generation.next(place) ?? last
    generation.accept({ ...place, records: [], from, first: from, last })
  }

  async commit(positions: readonly Position[]): Promise<void> {
    const offsets = positions.map(({ topic, partition, position }) => ({ topic, partition, offset: String(position) }))
    if (this.#api !== undefined) {
      const topics = [...Map.groupBy(offsets, ({ topic }) => topic)]
      await this.#api.commitOffsetsIfNecessary({ topics: topics.map(([topic, partitions]) => ({ topic, partitions })) })
      return
    }
    // Before the first batch. Not while it stops: then this resolves and does nothing; the payload's commit works.
    if (this.#consumer === undefined || this.#isQuiet) throw new Error('kafkajs has not given a batch yet')
    await this.#consumer.commitOffsets(offsets)
  }

  beat(): Promise<void> | undefined {
    const beat = this.#api?.heartbeat()
    if (beat !== undefined) this.#beats.sent(beat)
    return beat
  }

  get lost(): LostOffsets {
    return this.#lost
  }

  isChecked(place: Place): boolean {
    return this.#checked.has(idOf(place))
  }

  resume(place: Place): void {
    this.#room.get(idOf(place))?.()
    this.#consumer?.resume([{ topic: place.topic, partitions: [place.partition] }])
  }

  problem(): string | undefined {
    return this.#fetches.problem ?? this.#beats.problem
  }

  quiet(): void {
    this.#isQuiet = true
    this.#releaseRoom()
    if (this.#ownership !== undefined) this.#consumer?.pause(this.#options.topics.map((topic) => ({ topic })))
  }

  async leave(): Promise<void> {
    await this.#consumer?.disconnect().catch(() => {})
    await this.#lost.close()
  }
}

/** One generation, as the consumer uses it. */
class KafkajsSession implements LogSession {
  readonly #membership: KafkajsMembership
  generation: Generation<KafkaMessage> | undefined

  constructor(membership: KafkajsMembership) {
    this.#membership = membership
  }

  async commit(positions: readonly Position[]): Promise<void> {
    // Between a new offset manager and GROUP_JOIN there are only microtasks: a stale position never meets a new generation.
    await new Promise((resolve) => setImmediate(resolve))
    if (this.generation?.isOver === true) throw new Error('the generation is over')
    await this.#membership.commit(positions)
  }

  beat(): Promise<void> | undefined {
    return this.#membership.beat()
  }

  mayCommit(place: Place): boolean {
    return this.#membership.isChecked(place)
  }

  resume(place: Place): void {
    this.#membership.resume(place)
  }

  explain(gap: Parameters<NonNullable<LogSession['explain']>>[0]): void {
    this.#membership.lost.explain(gap)
  }
}

function idOf({ topic, partition }: Place): string {
  return `${topic}/${partition}`
}
