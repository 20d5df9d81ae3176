import { asError } from '../../core/as-error.ts'
import type { ClusterMetadata, fetchV17 } from '@platformatic/kafka'
import { sleep, type Clock } from '../../core/clock.ts'
import { placeId, type Place } from './coordinator.ts'
import { hasCode, reasonOf } from './errors.ts'
import { FetchTroubles } from './fetch-troubles.ts'
import { committedRecords, type Piece } from './records.ts'
import { Topology } from './topology.ts'
import type { Wire } from './wire.ts'

type Answer = fetchV17.FetchResponse
type AnsweredPartition = fetchV17.FetchResponsePartition
type Metadata = Pick<ClusterMetadata, 'brokers' | 'topics'>

export interface FetchSettings {
  readonly topics: readonly string[]
  readonly maxWaitMs: number
  readonly maxBytes: number
  readonly maxBytesPerPartition: number
}

/** A piece of a partition, with the offset that was asked for. */
export interface FetchedPiece extends Place, Piece {
  readonly from: number
}

export interface FetchSink {
  /** `full`: taken, and no more until `resume`. `refused`: nothing was taken, and the position stays. */
  accept(piece: FetchedPiece): 'taken' | 'full' | 'refused'
  /** The log is another one now, or begins anew: what is known of the old one is void. */
  restarted(place: Place): void
  report(change: 'messages-lost' | 'out-of-range' | 'gap', detail: Readonly<Record<string, unknown>>): void
  /** Fetching cannot go on. */
  failed(error: Error): void
  /** Fetching failed and is tried again. */
  troubled(error: Error): void
  /** Fetching works again. */
  recovered(): void
}

/** Where one owned partition is read. */
class Cursor implements Place {
  readonly topic: string
  readonly partition: number
  offset: number
  paused = true
  topicId: string | undefined

  constructor({ topic, partition, offset }: Place & { readonly offset: number }) {
    this.topic = topic
    this.partition = partition
    this.offset = offset
  }
}

interface Asked {
  readonly cursor: Cursor
  readonly from: number
}

// A paused partition may go on at any moment, and the request under way stands before the next one.
const waitWhilePausedMs = 20
const startAgainMs = 500
const offsetOutOfRange = 1

/**
 * Fetches the owned partitions that have room, with one request at a time to each broker. The requests use no fetch
 * session: nothing is remembered between two of them but our own offsets.
 */
export class Fetcher {
  readonly #wires: { readonly fetch: Wire; readonly quick: Wire }
  readonly #settings: FetchSettings
  readonly #sink: FetchSink
  readonly #clock: Clock
  readonly #closing = new AbortController()
  readonly #cursors = new Map<string, Cursor>()
  readonly #looping = new Set<number>()
  #wakers: (() => void)[] = []
  #starting = false
  #quiet = false
  readonly #troubles: FetchTroubles
  readonly #topology: Topology

  constructor(
    wires: { readonly fetch: Wire; readonly quick: Wire },
    settings: FetchSettings,
    sink: FetchSink,
    clock: Clock,
  ) {
    this.#wires = wires
    this.#settings = settings
    this.#sink = sink
    this.#clock = clock
    this.#troubles = new FetchTroubles(
      (error) => sink.troubled(error),
      () => sink.recovered(),
    )
    this.#topology = new Topology(wires.quick, settings.topics, this.#troubles, clock)
  }

  /** Why it cannot fetch something now. */
  get problem(): string | undefined {
    return this.#troubles.problem
  }

  /** What is owned from now on, all of it paused. */
  assign(places: readonly (Place & { readonly offset: number })[]): void {
    this.#cursors.clear()
    for (const place of places) this.#cursors.set(placeId(place.topic, place.partition), new Cursor(place))
  }

  clear(): void {
    this.#cursors.clear()
  }

  seek({ topic, partition }: Place, offset: number): void {
    const cursor = this.#cursors.get(placeId(topic, partition))
    if (cursor !== undefined) cursor.offset = offset
  }

  resume({ topic, partition }: Place): void {
    const cursor = this.#cursors.get(placeId(topic, partition))
    if (cursor === undefined) return
    cursor.paused = false
    for (const wake of this.#wakers.splice(0)) wake()
    void this.#start()
  }

  /** Fetches nothing more. */
  quiet(): void {
    this.#quiet = true
  }

  close(): void {
    this.#closing.abort()
    for (const wake of this.#wakers.splice(0)) wake()
  }

  /** The first or the next offset of a partition's log. */
  async offsetOf({ topic, partition }: Place, end: 'earliest' | 'latest'): Promise<number> {
    for (let tries = 1; ; tries++) {
      try {
        const { topics } = await this.#wires.quick.metadata([topic], tries > 1)
        const leader = topics.get(topic)?.partitions[partition]?.leader
        const timestamp = end === 'earliest' ? -2n : -1n
        const asked = { name: topic, partitions: [{ partitionIndex: partition, currentLeaderEpoch: -1, timestamp }] }
        const answer = await this.#wires.quick.ask(leader, 'ListOffsets', -1, 1, [asked])
        return Number(answer.topics[0]?.partitions[0]?.offset)
      } catch (error) {
        if (tries === 10 || this.#isClosed()) throw error
        await sleep(this.#clock, 200, this.#closing.signal)
      }
    }
  }

  /** One loop for each broker there is. A loop whose broker has gone ends. */
  async #start(): Promise<void> {
    if (this.#starting || this.#isClosed()) return
    this.#starting = true
    try {
      const { brokers } = await this.#topology.look()
      this.#troubles.over(undefined)
      for (const node of brokers.keys()) if (!this.#looping.has(node)) void this.#loop(node)
      if (brokers.size === 0) this.#startLater()
    } catch (error) {
      this.#troubles.began(undefined, error)
      this.#startLater()
    } finally {
      this.#starting = false
    }
  }

  #startLater(): void {
    this.#clock.after(startAgainMs, () => void this.#start())
  }

  async #loop(node: number): Promise<void> {
    this.#looping.add(node)
    let failures = 0
    while (!this.#isClosed()) {
      try {
        const metadata = await this.#topology.look()
        if (!metadata.brokers.has(node)) break
        const wanted = this.#wantedFrom(node, metadata)
        if (wanted.length === 0) {
          this.#troubles.over(node)
          await this.#somethingToDo()
          continue
        }
        await this.#fetch(node, metadata, wanted)
        failures = 0
      } catch (error) {
        if (this.#isClosed()) break
        if (hasCode(error, 'PLT_KFK_UNSUPPORTED_COMPRESSION')) {
          this.#sink.failed(asError(error))
          break
        }
        this.#troubles.began(node, error)
        this.#topology.forget()
        await sleep(this.#clock, Math.min(50 * 2 ** Math.min(failures++, 5), 1_000), this.#closing.signal).catch(
          () => {},
        )
      }
    }
    this.#looping.delete(node)
    this.#troubles.over(node)
    // The partitions of a broker that has gone are led by another one.
    if (!this.#isClosed()) void this.#start()
  }

  #wantedFrom(node: number, { topics }: Metadata): readonly Cursor[] {
    if (this.#quiet) return []
    return [...this.#cursors.values()].filter(
      ({ paused, topic, partition }) => !paused && topics.get(topic)?.partitions[partition]?.leader === node,
    )
  }

  async #somethingToDo(): Promise<void> {
    await new Promise<void>((resolve) => {
      const cancel = this.#clock.after(1_000, resolve, true)
      this.#wakers.push(() => {
        cancel()
        resolve()
      })
    })
  }

  async #fetch(node: number, metadata: Metadata, wanted: readonly Cursor[]): Promise<void> {
    const { maxWaitMs, maxBytes } = this.#settings
    const waitMs = wanted.length < this.#cursors.size ? Math.min(maxWaitMs, waitWhilePausedMs) : maxWaitMs
    const { request, asked } = this.#request(metadata, wanted)
    let refusal: unknown
    const answer = await this.#wires.fetch
      .ask(node, 'Fetch', waitMs, 1, maxBytes, 1, 0, -1, request, [], '')
      // An error of one partition rejects the whole. The answer for the others is in it.
      .catch((error: unknown) => answerIn((refusal = error)))
    const refused = await this.#take(answer, asked)
    if (refused === undefined) return this.#troubles.over(node)
    this.#troubles.refused(node, `${refused.topic}/${refused.partition}: ${reasonOf(refusal)}`)
    this.#topology.forget()
    await sleep(this.#clock, 50, this.#closing.signal).catch(() => {})
  }

  #request({ topics }: Metadata, wanted: readonly Cursor[]) {
    const asked = new Map<string, Asked>()
    const request = [...Map.groupBy(wanted, ({ topic }) => topic)].flatMap(([topic, cursors]) => {
      const topicId = topics.get(topic)?.id
      if (topicId === undefined) return []
      const partitions = cursors.map((cursor) => {
        if (cursor.topicId !== undefined && cursor.topicId !== topicId) this.#madeAnew(cursor)
        cursor.topicId = topicId
        asked.set(placeId(topicId, cursor.partition), { cursor, from: cursor.offset })
        return {
          partition: cursor.partition,
          currentLeaderEpoch: -1,
          fetchOffset: BigInt(cursor.offset),
          lastFetchedEpoch: -1,
          partitionMaxBytes: this.#settings.maxBytesPerPartition,
        }
      })
      return [{ topicId, partitions }]
    })
    return { request, asked }
  }

  /** Says which partition was refused, and has to be looked for again. */
  async #take({ responses }: Answer, asked: ReadonlyMap<string, Asked>): Promise<Place | undefined> {
    let refused: Place | undefined
    for (const { topicId, partitions } of responses)
      for (const part of partitions) {
        const found = asked.get(placeId(topicId, part.partitionIndex))
        // Assigned anew, or moved, while the request was under way.
        if (found === undefined || !this.#isCurrent(found)) continue
        if (part.errorCode === 0) this.#hand(found, part)
        else if (part.errorCode === offsetOutOfRange) await this.#outOfRange(found)
        else refused = found.cursor
      }
    return refused
  }

  #isCurrent({ cursor, from }: Asked): boolean {
    return this.#cursors.get(placeId(cursor.topic, cursor.partition)) === cursor && cursor.offset === from
  }

  #hand({ cursor, from }: Asked, part: AnsweredPartition): void {
    const piece = committedRecords(part, from)
    if (piece === undefined) return
    const { topic, partition } = cursor
    if (piece.first > from)
      this.#sink.report(Number(part.logStartOffset) > from ? 'messages-lost' : 'gap', {
        topic,
        partition,
        from,
        to: piece.first,
      })
    const accepted = this.#sink.accept({ topic, partition, from, ...piece })
    cursor.paused = accepted !== 'taken'
    if (accepted !== 'refused') cursor.offset = piece.last + 1
  }

  async #outOfRange(asked: Asked): Promise<void> {
    const { cursor, from } = asked
    const { topic, partition } = cursor
    const low = await this.offsetOf(cursor, 'earliest')
    if (!this.#isCurrent(asked)) return
    if (from < low) this.#sink.report('messages-lost', { topic, partition, from, to: low })
    else {
      this.#sink.report('out-of-range', { topic, partition, position: from, low })
      this.#sink.restarted(cursor)
    }
    cursor.offset = low
  }

  #madeAnew(cursor: Cursor): void {
    const { topic, partition, offset: position } = cursor
    this.#sink.report('out-of-range', { topic, partition, position, madeAnew: true })
    this.#sink.restarted(cursor)
    cursor.offset = 0
  }

  #isClosed(): boolean {
    return this.#closing.signal.aborted
  }
}

function answerIn(error: unknown): Answer {
  if (error instanceof Error && 'response' in error && isAnswer(error.response)) return error.response
  throw error
}

function isAnswer(value: unknown): value is Answer {
  return (
    typeof value === 'object' && value !== null && 'errorCode' in value && value.errorCode === 0 && 'responses' in value
  )
}
