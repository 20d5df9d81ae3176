import type { Batch, KafkaMessage } from 'kafkajs'
import { keyFromBytes } from '../../core/message.ts'
import type { Lanes } from '../../consumer/lanes.ts'
import type { LaneTrack } from '../../consumer/track.ts'

/** One message in a lane. */
export interface Item {
  readonly owned: Owned
  readonly message: KafkaMessage
  id: string
}

/** One partition while this member owns it. */
export interface Owned {
  readonly topic: string
  readonly partition: number
  readonly track: LaneTrack<Item>
  /** Delivered, and not in the lanes yet: those hold little more than may be started. */
  backlog: { readonly messages: readonly KafkaMessage[]; at: number }
  controller: AbortController
  /** The offset behind everything that was delivered; unknown before the first batch. */
  next: number | undefined
  committed: number | undefined
  /** Whether what the group had committed was compared with the log; a commit of ours would cover it up. */
  verified: boolean
  paused: boolean
  /** Kept over a join: what is fetched next begins at the committed position again. */
  kept: boolean
  /** Called when half of what it may buffer is gone. */
  space: (() => void) | undefined
  /** Where the position stood when last looked at, and since when. */
  readonly progress: { position: number | undefined; sinceMs: number }
}

/** A hole in what was delivered. */
export interface Gap {
  readonly topic: string
  readonly partition: number
  readonly from: number
  readonly to: number
}

/** The partitions that this member owns in the present generation. */
export interface Assignment {
  /** Grows with every join: what was asked in an earlier one is answered too late. */
  readonly epoch: number
  readonly all: () => Iterable<Owned>
  readonly size: number
  find(topic: string, partition: number): Owned | undefined
  /** A join: keeps what the same member still owns, drops the rest. Gives what is new. */
  join(memberId: string, owned: Readonly<Record<string, readonly number[]>>, reason: Error): readonly Owned[]
  /** Forgets everything, and tells what runs to stop. */
  drop(reason: Error): void
  /** Tells what runs to stop, and keeps it: it may run again. */
  abort(reason: Error): void
  /** Puts a batch into the lanes, without what was delivered before. Gives the hole in front of it, if there is one. */
  accept(owned: Owned, batch: Batch): Gap | undefined
  /** A batch of which nothing is for us: transaction markers, aborted records. */
  skip(owned: Owned, lastOffset: number): void
}

/** The position that may be committed: the first message that is not done, or what follows everything delivered. */
export function positionOf({ track, backlog, next }: Owned): number | undefined {
  const oldest = track.window.oldest?.message ?? backlog.messages[backlog.at]
  return oldest === undefined ? next : Number(oldest.offset)
}

/** Messages in memory. */
export function sizeOf({ track, backlog }: Owned): number {
  return track.window.size + backlog.messages.length - backlog.at
}

export interface AssignmentOptions {
  readonly keyed: Lanes<Item>
  /** How many messages of a partition its lanes may hold. */
  readonly inLanes: number
  readonly onDone: (owned: Owned) => void
  readonly now: () => number
}

export function assignment({ keyed, inLanes, onDone, now }: AssignmentOptions): Assignment {
  const partitions = new Map<string, Owned>()
  // Of partitions given up: a key that still runs there must not start here.
  const before = new Map<string, LaneTrack<Item>>()
  let memberId: string | undefined
  let epoch = 0

  function own(topic: string, partition: number): Owned {
    const id = idOf(topic, partition)
    const owned: Owned = {
      topic,
      partition,
      track: keyed.open({
        after: before.get(id),
        onDone() {
          feed(owned)
          onDone(owned)
        },
      }),
      backlog: { messages: [], at: 0 },
      controller: new AbortController(),
      next: undefined,
      committed: undefined,
      verified: false,
      paused: false,
      kept: false,
      space: undefined,
      progress: { position: undefined, sinceMs: now() },
    }
    partitions.set(id, owned)
    return owned
  }

  function feed(owned: Owned): void {
    const { track, backlog } = owned
    while (track.window.size < inLanes) {
      const message = backlog.messages[backlog.at]
      if (message === undefined) return
      backlog.at++
      keyed.add(track, keyFromBytes(message.key), { owned, message, id: '' })
    }
  }

  function giveUp(owned: Owned, reason: Error): void {
    const id = idOf(owned.topic, owned.partition)
    partitions.delete(id)
    keyed.close(owned.track)
    owned.backlog = { messages: [], at: 0 }
    before.set(id, owned.track)
    owned.controller.abort(reason)
    owned.space?.()
  }

  function drop(reason: Error): void {
    for (const owned of [...partitions.values()]) giveUp(owned, reason)
  }

  /** Another member moved the committed position meanwhile: what is known here is of the past. */
  function isOvertaken(owned: Owned, batch: Batch): boolean {
    const position = positionOf(owned)
    const fetchedFrom = 'fetchedOffset' in batch ? Number(batch.fetchedOffset) : 0
    return position !== undefined && fetchedFrom > position && Number(batch.firstOffset()) > position
  }

  return {
    get epoch() {
      return epoch
    },
    get size() {
      return partitions.size
    },
    all: () => partitions.values(),
    find: (topic, partition) => partitions.get(idOf(topic, partition)),
    drop,
    abort(reason) {
      for (const owned of partitions.values()) {
        owned.controller.abort(reason)
        owned.controller = new AbortController()
      }
    },
    join(joinedAs, assigned, reason) {
      epoch++
      const wanted = Object.entries(assigned).flatMap(([topic, all]) => all.map((partition) => ({ topic, partition })))
      const ids = new Set(wanted.map(({ topic, partition }) => idOf(topic, partition)))
      const same = joinedAs === memberId
      memberId = joinedAs
      for (const [id, owned] of [...partitions]) {
        if (!same || !ids.has(id)) giveUp(owned, reason)
        else {
          owned.kept = true
          owned.committed = undefined
        }
      }
      return wanted
        .filter(({ topic, partition }) => !partitions.has(idOf(topic, partition)))
        .map((each) => own(each.topic, each.partition))
    },
    accept(given, batch) {
      let owned = given
      if (owned.kept) {
        owned.kept = false
        if (isOvertaken(owned, batch)) {
          giveUp(owned, new Error('another member went on with the partition'))
          owned = own(owned.topic, owned.partition)
        }
      }
      const { next } = owned
      const first = Number(batch.firstOffset() ?? batch.lastOffset())
      const isFresh = next === undefined || Number(batch.messages[0]?.offset) >= next
      const fresh = isFresh ? batch.messages : batch.messages.filter(({ offset }) => Number(offset) >= next)
      const rest = owned.backlog.messages.slice(owned.backlog.at)
      owned.backlog = { messages: rest.length === 0 ? fresh : [...rest, ...fresh], at: 0 }
      feed(owned)
      const { topic, partition } = owned
      skip(owned, Number(batch.lastOffset()))
      return next !== undefined && first > next ? { topic, partition, from: next, to: first } : undefined
    },
    skip,
  }
}

function skip(owned: Owned, lastOffset: number): void {
  // A reset leaves -1 or -2 in places: no offset.
  if (lastOffset >= 0 && (owned.next === undefined || lastOffset + 1 > owned.next)) owned.next = lastOffset + 1
}

function idOf(topic: string, partition: number): string {
  return `${topic}/${partition}`
}
