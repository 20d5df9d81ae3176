import { LaneHeap } from './lane-heap.ts'
import { Entry, Watermark } from './watermark.ts'

/**
 * One item on its way. The tasks of one key in one track that are not done are a lane: its first one stands for it, and
 * knows the last. A task without a key is a lane of its own.
 */
export class Task<Item> extends Entry<Item> {
  readonly track: LaneTrack<Item>
  readonly key: string | null
  /** Arrival over all tracks. */
  readonly rank: number
  attempt = 1
  nacks = 0
  /** Whether it was started and has not really ended, given up or not. */
  running = false
  behind: Task<Item> | undefined = undefined
  /** The next of those that may start. */
  after: Task<Item> | undefined = undefined
  /** Of its lane, and known to the first alone. */
  last: Task<Item> | undefined = undefined

  constructor(item: Item, index: number, track: LaneTrack<Item>, key: string | null, rank: number) {
    super(item, index)
    this.track = track
    this.key = key
    this.rank = rank
  }
}

export interface Hold {
  readonly sinceMs: number
  readonly cancel: () => void
}

/** One ownership of one partition: its window and its lanes. */
export class LaneTrack<Item> {
  readonly window: Watermark<Item> = new Watermark()
  /** The first task of every lane. */
  readonly byKey: Map<string, Task<Item>> = new Map()
  /** Lanes that may not start yet: too far ahead, or not part of the gaps that a drain fills. */
  readonly waiting: LaneHeap<Task<Item>> = new LaneHeap()
  readonly held: Map<Task<Item>, Hold> = new Map()
  readonly onDone: () => void
  /** The ownership before this one, while a key of it still runs; and the one after. */
  before: LaneTrack<Item> | undefined
  next: LaneTrack<Item> | undefined = undefined
  startedTo = -1
  running = 0
  abandoned = 0
  closed = false

  constructor(before: LaneTrack<Item> | undefined, onDone: () => void) {
    this.before = before
    // Ownerships of which nothing runs any more are forgotten.
    while (this.before?.byKey.size === 0) this.before = this.before.before
    this.onDone = onDone
    if (before !== undefined) before.next = this
  }

  /** Whether an earlier ownership still runs something of this key. */
  runsBefore(key: string): boolean {
    for (let { before } = this; before !== undefined; before = before.before) if (before.byKey.has(key)) return true
    return false
  }

  /** Keeps only what still runs, so that the next ownership waits for it key by key. */
  close(): void {
    this.closed = true
    for (const { cancel } of this.held.values()) cancel()
    this.held.clear()
    for (const [key, first] of this.byKey) if (!first.running) this.byKey.delete(key)
  }

  /** A task of this closed track has ended. Gives the lane of the same key that may go on now, if there is one. */
  ended({ key }: Task<Item>): Task<Item> | undefined {
    if (key === null) return undefined
    this.byKey.delete(key)
    for (let { next } = this; next !== undefined; next = next.next) {
      while (next.before?.byKey.size === 0) next.before = next.before.before
      const waiting = next.closed ? undefined : next.byKey.get(key)
      if (waiting !== undefined) return next.runsBefore(key) ? undefined : waiting
    }
    return undefined
  }
}
