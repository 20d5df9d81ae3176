import type { Clock } from '../core/clock.ts'
import { isAbandoned } from '../core/errors.ts'
import { Drains } from './drains.ts'
import { Halt } from './halt.ts'
import type { LaneHeap } from './lane-heap.ts'
import { readyLine } from './ready-line.ts'
import { redelivery, type Redelivery } from './redelivery.ts'
import { Slots } from './slots.ts'
import { LaneTrack, Task, type TrackOptions } from './track.ts'

export interface LanesOptions<Item> {
  /** How many items run at once, over all tracks. */
  readonly concurrency: number
  /** How far past the oldest unfinished item of its track one may be started: bounds what a drain has to run. */
  readonly ahead: number
  /** The first wait after a failure that does not say when; doubled every time, at most 30 s. */
  readonly redeliverMs: number
  readonly clock: Clock
  /** The part of the starts that tracks which give way get in any case. @defaultValue nothing has priority */
  readonly floor?: number | undefined
  /** Runs one item. A rejection holds its lane, and the item runs again. */
  readonly run: (item: Item, key: string | null, attempt: number) => Promise<unknown>
  /** Told of every rejection; gives the attempt that the next run is. */
  readonly onNack: (item: Item, error: unknown, attempt: number) => number
  /** An item held the pipeline several times while others got through. From now on it holds its own lane only. */
  readonly onHoldsAlone?: (item: Item, error: unknown) => void
}

/** Runs items of many tracks at once: those of one key in order and one at a time, all others in parallel. */
export interface Lanes<Item> {
  /** Starts a track: one ownership of one partition, queue or link. */
  open(options?: TrackOptions<Item>): LaneTrack<Item>
  /** An item without a key is in order with nothing. */
  add(track: LaneTrack<Item>, key: string | null, item: Item): void
  /**
   * Forgets the items that have not started, and returns them in the order of arrival. Running items go on; `onDone` is not
   * called for them.
   */
  close(track: LaneTrack<Item>): readonly Item[]
  /**
   * Starts only items that lie before a started one, in one track or in all of them. In a track without positions it starts
   * nothing. Resolves when no such item can go on. It does not wait for a held item.
   */
  drain(track?: LaneTrack<Item>): Promise<void>
  /** Ends a drain, of one track or of all of them. */
  resume(track?: LaneTrack<Item>): void
  /** For the end of a process: no item that was nacked runs again. */
  quit(): void
  /** Items started and not settled, those of closed tracks included. */
  readonly inFlight: number
  /** Items added and not passed by their watermark, of open tracks. */
  readonly buffered: number
  /** Whether all lanes wait for a probe, because an item holds the pipeline. */
  readonly halted: boolean
  /** The error of that item. */
  readonly haltedBy: unknown
}

// How often an item may hold the pipeline while others get through. After that it holds its own lane.
const mostRefuted = 3
const nothing = (): void => {}

/** The executor behind the transports. It starts in order of arrival, which keeps close to the watermark. */
export function lanes<Item>(options: LanesOptions<Item>): Lanes<Item> {
  return new LaneExecutor(options)
}

class LaneExecutor<Item> implements Lanes<Item> {
  readonly #options: LanesOptions<Item>
  readonly #ready: LaneHeap<Task<Item>>
  readonly #tracks = new Set<LaneTrack<Item>>()
  readonly #drains = new Drains<LaneTrack<Item>>()
  readonly #slots = new Slots<Task<Item>>(
    ({ item, key, attempt }) => this.#options.run(item, key, attempt),
    (task) => {
      this.#left(task)
      this.#succeeded(task)
      this.#pump()
    },
    (task, error) => {
      this.#left(task)
      this.#failed(task, error)
      this.#pump()
    },
  )
  readonly #halt: Halt<Item>
  #inFlight = 0
  #buffered = 0
  #arrivals = 0
  #draining = false
  #quitting = false

  constructor(options: LanesOptions<Item>) {
    this.#options = options
    this.#ready = readyLine(options.floor)
    this.#halt = new Halt(options.clock, () => this.#pump())
  }

  get inFlight(): number {
    return this.#inFlight
  }

  get buffered(): number {
    return this.#buffered
  }

  get halted(): boolean {
    return this.#halt.isOn
  }

  get haltedBy(): unknown {
    return this.#halt.because
  }

  open(options: TrackOptions<Item> = {}): LaneTrack<Item> {
    const track = new LaneTrack<Item>(options)
    track.draining = this.#draining
    this.#tracks.add(track)
    return track
  }

  add(track: LaneTrack<Item>, key: string | null, item: Item): void {
    if (track.closed) return
    const task = new Task(item, track.window.added, track, key, this.#arrivals++)
    track.window.add(task)
    this.#buffered++
    if (key !== null) {
      const first = track.byKey.get(key)
      if (first !== undefined) {
        const last = first.last ?? first
        last.behind = task
        first.last = task
        return
      }
      track.byKey.set(key, task)
      if (track.before !== undefined && track.runsBefore(key)) return
    }
    this.#offer(task)
    if (this.#inFlight < this.#options.concurrency) this.#pump()
  }

  close(track: LaneTrack<Item>): readonly Item[] {
    if (track.closed) return []
    const left = track.window.size === 0 ? [] : track.notStarted(this.#ready)
    this.#buffered -= track.window.size
    this.#tracks.delete(track)
    track.close()
    // Its probe may run on for long, and says nothing to those that are left.
    if (this.#halt.probe?.track === track) this.#halt.next(this.#halt.probe)
    if (this.#tracks.size === 0) this.#halt.forget()
    this.#pump()
    return left
  }

  drain(track?: LaneTrack<Item>): Promise<void> {
    if (track === undefined) this.#draining = true
    for (const each of track === undefined ? this.#tracks : [track]) each.draining = true
    this.#setAside()
    const drained = this.#drains.add(track)
    this.#pump()
    return drained
  }

  resume(track?: LaneTrack<Item>): void {
    if (track === undefined) this.#draining = false
    for (const each of track === undefined ? this.#tracks : [track]) {
      each.draining = false
      this.#wake(each)
    }
    this.#pump()
  }

  quit(): void {
    this.#quitting = true
    for (const track of this.#tracks) for (const hold of track.held.values()) hold.cancel()
    this.#halt.end()
    this.#setAside()
  }

  /** Puts a lane in line, where it may start. */
  #offer(task: Task<Item>): void {
    const { track } = task
    if (this.#quitting && task.nacks > 0) return
    if (task.index > this.#lastAllowed(track)) return track.waiting.push(task)
    track.ready++
    this.#ready.push(task)
  }

  #lastAllowed(track: LaneTrack<Item>): number {
    if (!track.draining) return track.window.passed + this.#options.ahead - 1
    return track.positions ? track.startedTo : -1
  }

  /** A drain or the end has begun: lanes in line that may not start any more leave the line. */
  #setAside(): void {
    const all: Task<Item>[] = []
    for (let task = this.#ready.pop(); task !== undefined; task = this.#ready.pop()) all.push(task)
    for (const task of all) {
      if (task.track.closed) continue
      task.track.ready--
      this.#offer(task)
    }
  }

  #pump(): void {
    while (!this.#ready.isEmpty && this.#placeLeft()) {
      const task = this.#halt.isProbeDue ? this.#halt.takeProbe(this.#ready) : this.#ready.pop()
      if (task === undefined || task.track.closed) continue
      task.track.ready--
      this.#start(task)
    }
    if (!this.#drains.isEmpty) this.#tellDrained()
  }

  #placeLeft(): boolean {
    return this.#inFlight < this.#options.concurrency && (!this.#halt.isOn || this.#halt.isProbeDue)
  }

  #tellDrained(): void {
    let open = 0
    for (const { running } of this.#tracks) open += running
    // Nothing starts by itself: a probe is not due, or lost work still runs.
    const isStuck = !this.#placeLeft() && (open === 0 || this.#halt.isOn)
    const isDrained = (track: LaneTrack<Item>): boolean => track.running === 0 && (track.ready === 0 || isStuck)
    this.#drains.tell((track) => (track === undefined ? [...this.#tracks].every(isDrained) : isDrained(track)))
  }

  #start(task: Task<Item>): void {
    const { track } = task
    task.running = true
    this.#inFlight++
    track.running++
    if (task.index > track.startedTo) track.startedTo = task.index
    this.#halt.started(task)
    this.#slots.run(task)
  }

  #left(task: Task<Item>): void {
    this.#inFlight--
    task.track.running--
  }

  #succeeded(task: Task<Item>): void {
    const { track, key, behind } = task
    task.running = false
    this.#halt.passed(task)
    track.tellSettled()
    if (track.closed) return this.#goOnAfter(task)
    if (task.nacks > 0) track.held.delete(task)
    if (key !== null) {
      if (behind === undefined) track.byKey.delete(key)
      else {
        if (behind !== task.last) behind.last = task.last
        // What is old and done must not keep what is young alive.
        task.behind = task.last = undefined
        track.byKey.set(key, behind)
        this.#offer(behind)
      }
    }
    const passed = track.window.finish(task)
    if (passed > 0) {
      this.#buffered -= passed
      if (!track.waiting.isEmpty) this.#wake(track)
    }
    track.onDone(task.item)
  }

  #failed(task: Task<Item>, error: unknown): void {
    const { track } = task
    if (isAbandoned(error)) return this.#holdUntil(task, error.settled, error)
    task.running = false
    track.tellSettled()
    if (track.closed) {
      this.#halt.next(task)
      return this.#goOnAfter(task)
    }
    const { holds, afterMs } = this.#nacked(task, error)
    if (holds === 'pipeline' && task.refuted < mostRefuted) this.#holdAll(task, error, afterMs)
    else this.#holdLane(task, error, holds, afterMs)
  }

  #nacked(task: Task<Item>, error: unknown): Redelivery {
    const { clock, onNack, redeliverMs } = this.#options
    task.attempt = onNack(task.item, error, task.attempt)
    const wanted = redelivery(error, task.nacks, redeliverMs)
    task.track.hold(task, error, clock.now())
    return wanted
  }

  #holdAll(task: Task<Item>, error: unknown, afterMs: number): void {
    // Another one is the next probe, if there is another one.
    if (task === this.#halt.probe) task.blame++
    this.#offer(task)
    this.#halt.begin(task, error, afterMs)
  }

  #holdLane(task: Task<Item>, error: unknown, holds: Redelivery['holds'], afterMs: number): void {
    const hold = task.track.held.get(task)
    if (holds !== 'lane') task.blame++
    if (holds === 'pipeline' && hold?.alone === false) {
      hold.alone = true
      this.#options.onHoldsAlone?.(task.item, error)
    }
    if (hold !== undefined && !this.#quitting)
      hold.cancel = this.#options.clock.after(afterMs, () => {
        hold.cancel = nothing
        this.#offer(task)
        this.#pump()
      })
    this.#halt.next(task)
  }

  /** An abandoned handler still runs: nothing of its key may start. */
  #holdUntil(task: Task<Item>, settled: Promise<unknown>, error: unknown): void {
    const { track } = task
    const { clock, onNack } = this.#options
    track.abandoned++
    if (!track.closed) track.hold(task, error, clock.now())
    this.#halt.next(task)
    const goOn = (late: unknown): void => {
      track.abandoned--
      task.running = false
      track.tellSettled()
      if (track.closed) return this.#goOnAfter(task)
      task.attempt = onNack(task.item, late, task.attempt)
      task.blame++
      this.#offer(task)
      this.#pump()
    }
    settled.then(goOn, goOn)
  }

  #goOnAfter(task: Task<Item>): void {
    const next = task.track.ended(task)
    if (next === undefined) return
    this.#offer(next)
    this.#pump()
  }

  #wake(track: LaneTrack<Item>): void {
    const last = this.#lastAllowed(track)
    for (let { first } = track.waiting; first !== undefined && first.index <= last; { first } = track.waiting) {
      track.waiting.pop()
      this.#offer(first)
    }
  }
}
