import type { Lanes } from '../lanes-options.ts'
import type { LaneTrack } from '../track.ts'
import type { Assigned, Gap, LogBatch, LogClient, Place } from './log-client.ts'

/** One message in a lane. */
export interface LogItem<Raw> {
  readonly owned: Owned<Raw>
  readonly record: Raw
  id: string
  started: boolean
}

interface Backlog<Raw> {
  readonly records: readonly Raw[]
  at: number
}

/** One partition while this member owns it. */
export class Owned<Raw> implements Place {
  readonly topic: string
  readonly partition: number
  readonly track: LaneTrack<LogItem<Raw>>
  /** Delivered, and not in the lanes yet: those hold little more than may be started. */
  backlog: Backlog<Raw> = { records: [], at: 0 }
  /** Of what runs. */
  controller: AbortController = new AbortController()
  /** The offset behind everything that was delivered; unknown before the first batch. */
  next: number | undefined
  /** What the group confirmed, in any epoch. */
  committed: number | undefined
  paused = false
  /** How many messages were handled since the last join. */
  handled = 0
  /** Kept over a join by a client that fetches from the committed position again, and that has not given a batch since. */
  kept = false
  /** What is fetched again may begin here, or behind it; unset once all that was delivered has come by. */
  refetch: number | undefined
  /** Where the position stood when last looked at, and since when. */
  readonly progress: { position: number | undefined; sinceMs: number }
  readonly #offsetOf: (record: Raw) => number

  constructor(place: Place, track: LaneTrack<LogItem<Raw>>, offsetOf: (record: Raw) => number, nowMs: number) {
    this.topic = place.topic
    this.partition = place.partition
    this.track = track
    this.progress = { position: undefined, sinceMs: nowMs }
    this.#offsetOf = offsetOf
  }

  /** What may be committed: the first message that is not done, or what follows everything delivered. */
  get position(): number | undefined {
    const oldest = this.track.window.oldest?.record ?? this.backlog.records[this.backlog.at]
    return oldest === undefined ? this.next : this.#offsetOf(oldest)
  }

  /** Messages in memory. */
  get size(): number {
    return this.track.window.size + this.backlog.records.length - this.backlog.at
  }

  /** Everything up to this offset was delivered. */
  passed(lastOffset: number): void {
    // A reset leaves -1 or -2 in places: no offset.
    if (lastOffset >= 0 && (this.next === undefined || lastOffset + 1 > this.next)) this.next = lastOffset + 1
  }

  /** Tells running handlers to stop, and keeps their messages: they may run again. */
  abort(reason: Error): void {
    this.controller.abort(reason)
    this.controller = new AbortController()
  }
}

export interface AssignmentOptions<Raw> {
  readonly lanes: Lanes<LogItem<Raw>>
  readonly client: Pick<LogClient<Raw>, 'offsetOf' | 'keyOf' | 'refetches'>
  /** How many messages of a partition its lanes may hold. */
  readonly inLanes: number
  readonly onDone: (owned: Owned<Raw>) => void
  readonly now: () => number
  /** Whether messages of that topic give way to others. */
  readonly yields?: (topic: string) => boolean
}

/** What a batch told besides its records. */
export interface Accepted<Raw> {
  /** As it is now: a log that went back begins a new one. */
  readonly owned: Owned<Raw>
  /** A hole in front of the batch. */
  readonly gap?: Gap
  /** The log is another one or was cut: the batch begins below what was known of it. */
  readonly wentBackFrom?: number
}

/** The partitions that this member owns in the present generation. */
export class Assignment<Raw> {
  readonly #options: AssignmentOptions<Raw>
  readonly #partitions = new Map<string, Owned<Raw>>()
  /** Of partitions given up: a key that still runs there must not start here. */
  readonly #before = new Map<string, LaneTrack<LogItem<Raw>>>()
  #member: string | undefined

  constructor(options: AssignmentOptions<Raw>) {
    this.#options = options
  }

  get size(): number {
    return this.#partitions.size
  }

  all(): Iterable<Owned<Raw>> {
    return this.#partitions.values()
  }

  find(place: Place): Owned<Raw> | undefined {
    return this.#partitions.get(idOf(place))
  }

  /** A join: keeps what the same member still owns, drops the rest. Gives what is new. */
  join(member: string, assigned: readonly Assigned[], reason: Error): readonly Owned<Raw>[] {
    const isSame = member === this.#member
    this.#member = member
    const wanted = new Map(assigned.map((each) => [idOf(each), each]))
    for (const [id, owned] of [...this.#partitions]) {
      const still = wanted.get(id)
      if (!isSame || still === undefined || isOvertaken(owned, still.committed)) this.#giveUp(owned, reason)
      else if (this.#options.client.refetches === true) awaitAgain(owned)
    }
    return assigned
      .filter((each) => this.find(each) === undefined)
      .map((each) => {
        const owned = this.#own(each)
        owned.committed = each.committed
        return owned
      })
  }

  /** Forgets everything, and tells running handlers to stop. */
  drop(reason: Error): void {
    for (const owned of [...this.#partitions.values()]) this.#giveUp(owned, reason)
  }

  abort(reason: Error): void {
    for (const owned of this.#partitions.values()) owned.abort(reason)
  }

  /** Begins an ownership anew: its positions are of a log that is no more. */
  restart(owned: Owned<Raw>, reason: Error): Owned<Raw> {
    this.#giveUp(owned, reason)
    return this.#own(owned)
  }

  /** Puts a batch into the lanes, without what was delivered before. */
  accept(given: Owned<Raw>, batch: LogBatch<Raw>): Accepted<Raw> {
    const { next, kept, position, refetch } = given
    // Of a batch that is empty a client may know the end alone: it says nothing of where the fetches stand.
    if (refetch !== undefined && batch.records.length === 0) return this.#take(given, batch)
    const expected = refetch ?? next
    if (next !== undefined && expected !== undefined && batch.from < expected && batch.last >= batch.from) {
      const owned = this.restart(given, new Error('the log begins anew'))
      return { ...this.#take(owned, batch), wentBackFrom: next }
    }
    given.kept = false
    if (refetch !== undefined && next !== undefined && batch.from < next)
      given.refetch = batch.last + 1 < next ? Math.max(refetch, batch.last + 1) : undefined
    if (kept && position !== undefined && batch.from > position && batch.first > position)
      return this.#take(this.restart(given, new Error('another member went on with the partition')), batch)
    return this.#take(given, batch)
  }

  #take(owned: Owned<Raw>, { records, first, last }: LogBatch<Raw>): Accepted<Raw> {
    const { next, backlog } = owned
    const { offsetOf } = this.#options.client
    const [head] = records
    const isFresh = next === undefined || head === undefined || offsetOf(head) >= next
    const fresh = isFresh ? records : records.filter((record) => offsetOf(record) >= next)
    const rest = backlog.records.slice(backlog.at)
    owned.backlog = { records: rest.length === 0 ? fresh : [...rest, ...fresh], at: 0 }
    this.#feed(owned)
    owned.passed(last)
    if (next === undefined || first <= next) return { owned }
    return { owned, gap: { topic: owned.topic, partition: owned.partition, from: next, to: first } }
  }

  #own(place: Place): Owned<Raw> {
    const { lanes, client, onDone, now, yields = () => false } = this.#options
    const id = idOf(place)
    const track = lanes.open({
      after: this.#before.get(id),
      yields: yields(place.topic),
      onDone: () => {
        this.#feed(owned)
        onDone(owned)
      },
    })
    const owned = new Owned<Raw>(place, track, client.offsetOf, now())
    this.#partitions.set(id, owned)
    return owned
  }

  #feed(owned: Owned<Raw>): void {
    const { lanes, client, inLanes } = this.#options
    const { track, backlog } = owned
    while (track.window.size < inLanes) {
      const record = backlog.records[backlog.at]
      if (record === undefined) return
      backlog.at++
      lanes.add(track, client.keyOf(record), { owned, record, id: '', started: false })
    }
  }

  #giveUp(owned: Owned<Raw>, reason: Error): void {
    const id = idOf(owned)
    this.#partitions.delete(id)
    this.#options.lanes.close(owned.track)
    owned.backlog = { records: [], at: 0 }
    this.#before.set(id, owned.track)
    owned.controller.abort(reason)
  }
}

/** The group's position is ahead of this member's: another member worked on it meanwhile. */
function isOvertaken<Raw>({ position }: Owned<Raw>, committed: number | undefined): boolean {
  return committed !== undefined && position !== undefined && committed > position
}

function idOf({ topic, partition }: Place): string {
  return `${topic}/${partition}`
}

/**
 * The position is that of the join: what the group confirms later, the fetches have not seen. Once it stands behind all that
 * was delivered, nothing comes twice.
 */
function awaitAgain<Raw>(owned: Owned<Raw>): void {
  const { next, committed = 0 } = owned
  owned.kept = true
  owned.refetch = next !== undefined && committed < next ? committed : undefined
}
