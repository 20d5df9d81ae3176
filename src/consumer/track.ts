import type { Followers } from './followers.ts'
import { LaneHeap } from './lane-heap.ts'
import { Entry, Tally, Watermark, type Window } from './watermark.ts'

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
  /** Failures of its own and failed probes: the next probe is the waiting task with the fewest. */
  blame = 0
  /** How often it held the pipeline, and another item ended that by getting through. */
  refuted = 0
  /** Whether it was started and has not really ended, given up or not. */
  running = false
  /** The one before it was put away, and so is this one most likely. */
  follows = false
  /** Set while it runs together with others of its key. */
  following: { readonly run: Followers<Task<Item>>; readonly place: number } | undefined = undefined
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

/** A nacked item that is not done. */
export interface Hold {
  /** The first nack. */
  readonly sinceMs: number
  nacks: number
  /** The latest nack. */
  error: unknown
  /** It held the pipeline again and again while others got through: now it holds its lane only. */
  alone: boolean
  /** Ends the present wait; does nothing while it runs. */
  cancel: () => void
}

export interface TrackOptions<Item> {
  /** The ownership before this one: keys that still run there wait here. */
  readonly after?: LaneTrack<Item> | undefined
  readonly onDone?: (item: Item) => void
  /**
   * Whether the broker keeps one position: then the oldest unfinished item is known, `ahead` bounds what starts past it,
   * and a drain fills the gaps. False for brokers that ack each message by itself.
   * @defaultValue true
   */
  readonly positions?: boolean
  /** Whether its items give way to those of tracks with priority. @defaultValue false */
  readonly yields?: boolean
}

const nothing = (): void => {}

/** One ownership of one partition, queue or link: its window and its lanes. */
export class LaneTrack<Item> {
  readonly window: Window<Item>
  /** The first task of every lane. */
  readonly byKey: Map<string, Task<Item>> = new Map()
  /** Lanes that may not start yet: too far ahead, or not part of the gaps that a drain fills. */
  readonly waiting: LaneHeap<Task<Item>> = new LaneHeap()
  /** From the first nack until it is done. */
  readonly held: Map<Task<Item>, Hold> = new Map()
  readonly onDone: (item: Item) => void
  readonly positions: boolean
  readonly yields: boolean
  /** The ownership before this one, while a key of it still runs; and the one after. */
  before: LaneTrack<Item> | undefined
  next: LaneTrack<Item> | undefined = undefined
  /** The highest index that was ever started: a drain runs nothing beyond. */
  startedTo = -1
  /** Lanes that only wait for a place. */
  ready = 0
  running = 0
  abandoned = 0
  closed = false
  draining = false
  #settled: (() => void)[] = []

  constructor({ after, onDone = nothing, positions = true, yields = false }: TrackOptions<Item>) {
    this.before = after
    // Ownerships without a running message are forgotten.
    while (this.before?.byKey.size === 0) this.before = this.before.before
    this.onDone = onDone
    this.positions = positions
    this.yields = yields
    this.window = positions ? new Watermark() : new Tally()
    if (after !== undefined) after.next = this
  }

  started(task: Task<Item>): void {
    task.running = true
    if (task.index > this.startedTo) this.startedTo = task.index
  }

  /** That task stands for the lane of the key now. */
  lead(key: string | null, first: Task<Item> | undefined): void {
    if (key === null) return
    if (first === undefined) this.byKey.delete(key)
    else this.byKey.set(key, first)
  }

  /** Whether an earlier ownership still runs something of this key. */
  runsBefore(key: string): boolean {
    for (let { before } = this; before !== undefined; before = before.before) if (before.byKey.has(key)) return true
    return false
  }

  /** Items that have not started, in the order of arrival. `ready` are the lanes in line, of all tracks. */
  notStarted(ready: Iterable<Task<Item>>): readonly Item[] {
    const heads = new Set<Task<Item>>([...this.byKey.values(), ...this.held.keys(), ...this.waiting])
    for (const task of ready) if (task.track === this) heads.add(task)
    const all: Task<Item>[] = []
    for (const head of heads)
      for (let task: Task<Item> | undefined = head; task !== undefined; task = task.behind)
        if (!task.running) all.push(task)
    return all.toSorted((a, b) => a.rank - b.rank).map(({ item }) => item)
  }

  /** Counts a nack of the task, which is held until it is done. */
  hold(task: Task<Item>, error: unknown, nowMs: number): void {
    const hold = this.held.get(task)
    task.nacks++
    if (hold === undefined)
      this.held.set(task, { sinceMs: nowMs, nacks: task.nacks, error, alone: false, cancel: nothing })
    else Object.assign(hold, { error, nacks: task.nacks, cancel: nothing })
  }

  /** Keeps only what still runs, so that the next ownership waits for it key by key. */
  close(): void {
    this.closed = true
    this.ready = 0
    for (const { cancel } of this.held.values()) cancel()
    this.held.clear()
    for (const [key, first] of this.byKey) if (!first.running) this.byKey.delete(key)
  }

  /** Resolves when nothing of it runs any more, what was given up included; open or closed. */
  settled(): Promise<void> {
    if (this.running + this.abandoned === 0) return Promise.resolve()
    return new Promise((resolve) => this.#settled.push(resolve))
  }

  /** Called when something of it ended. */
  tellSettled(): void {
    if (this.#settled.length === 0 || this.running + this.abandoned > 0) return
    for (const resolve of this.#settled.splice(0)) resolve()
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
