import type { Clock } from '../core/clock.ts'
import { isAbandoned } from '../core/errors.ts'
import { Halt } from './halt.ts'
import { LaneHeap } from './lane-heap.ts'
import { redelivery, type Redelivery } from './redelivery.ts'
import { LaneTrack, Task, type TrackOptions } from './track.ts'

export interface LanesOptions<Item> {
  /** How many items run at once, over all tracks. */
  readonly concurrency: number
  /** How far past the oldest unfinished item of its track one may be started: bounds what a drain has to run. */
  readonly ahead: number
  /** The first wait after a failure that does not say when; doubled every time, at most 30 s. */
  readonly redeliverMs: number
  readonly clock: Clock
  /** Runs one item. A rejection holds its lane, and the item runs again. */
  readonly run: (item: Item, key: string | null, attempt: number) => Promise<unknown>
  /** Told of every rejection; gives the attempt that the next run is. */
  readonly onNack: (item: Item, error: unknown, attempt: number) => number
  /** An item held the pipeline again and again while others got through: from now on it holds its own lane only. */
  readonly onHoldsAlone?: (item: Item, error: unknown) => void
}

/** Runs items of many tracks at once: those of one key in order and one at a time, all others in parallel. */
export interface Lanes<Item> {
  /** Starts a track: one ownership of one partition, queue or link. */
  open(options?: TrackOptions<Item>): LaneTrack<Item>
  /** An item without a key is in order with nothing. */
  add(track: LaneTrack<Item>, key: string | null, item: Item): void
  /**
   * Forgets what has not started, and gives it back in the order of arrival. What runs goes on, and its end changes
   * nothing: `onDone` is not called for it.
   */
  close(track: LaneTrack<Item>): readonly Item[]
  /**
   * Starts only what lies before something already started, of one track or of all of them; nothing at all in a track
   * without positions. Resolves when none of that can go on any more: a held item is not waited for.
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
  /** Whether all wait for a probe, since an item said that it holds the pipeline. */
  readonly halted: boolean
  /** What that item rejected with. */
  readonly haltedBy: unknown
}

/** A place for one running task, with its two continuations made once. */
interface Slot<Item> {
  task: Task<Item> | undefined
  readonly succeeded: () => void
  readonly failed: (error: unknown) => void
}

interface Drain<Item> {
  readonly track: LaneTrack<Item> | undefined
  readonly resolve: () => void
}

// So often may an item hold the pipeline while others get through; from then on it holds its own lane.
const mostRefuted = 3
const nothing = (): void => {}

/** The executor behind the transports. It starts in order of arrival, which keeps close to the watermark. */
export function lanes<Item>(options: LanesOptions<Item>): Lanes<Item> {
  return new LaneExecutor(options)
}

class LaneExecutor<Item> implements Lanes<Item> {
  readonly #options: LanesOptions<Item>
  readonly #ready = new LaneHeap<Task<Item>>()
  readonly #tracks = new Set<LaneTrack<Item>>()
  readonly #free: Slot<Item>[] = []
  readonly #drains: Drain<Item>[] = []
  readonly #halt: Halt<Item>
  #inFlight = 0
  #buffered = 0
  #arrivals = 0
  #draining = false
  #quitting = false

  constructor(options: LanesOptions<Item>) {
    this.#options = options
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
    const left = track.window.size === 0 ? [] : this.#notStarted(track)
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
    return new Promise((resolve) => {
      this.#drains.push({ track, resolve })
      this.#pump()
    })
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

  /** A drain began, or the end: what stands in line and may not start any more leaves it. */
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
      const task = this.#halt.isProbeDue
        ? this.#ready.takeBest(this.#halt.wantsYoungest ? isYoungerProbe : isOlderProbe)
        : this.#ready.pop()
      if (task === undefined || task.track.closed) continue
      task.track.ready--
      this.#start(task)
    }
    if (this.#drains.length > 0) this.#tellDrained()
  }

  #placeLeft(): boolean {
    return this.#inFlight < this.#options.concurrency && (!this.#halt.isOn || this.#halt.isProbeDue)
  }

  #tellDrained(): void {
    let open = 0
    for (const { running } of this.#tracks) open += running
    // Nothing starts again before somebody outside does something: a probe that is not due, or what was lost and runs on.
    const isStuck = !this.#placeLeft() && (open === 0 || this.#halt.isOn)
    const isDrained = (track: LaneTrack<Item>): boolean => track.running === 0 && (track.ready === 0 || isStuck)
    for (const drain of this.#drains.splice(0)) {
      const { track, resolve } = drain
      if (track === undefined ? [...this.#tracks].every(isDrained) : isDrained(track)) resolve()
      else this.#drains.push(drain)
    }
  }

  #start(task: Task<Item>): void {
    const slot = this.#free.pop() ?? this.#makeSlot()
    const { track } = task
    slot.task = task
    task.running = true
    this.#inFlight++
    track.running++
    if (task.index > track.startedTo) track.startedTo = task.index
    this.#halt.started(task)
    this.#run(task).then(slot.succeeded, slot.failed)
  }

  #run({ item, key, attempt }: Task<Item>): Promise<unknown> {
    try {
      return this.#options.run(item, key, attempt)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  #makeSlot(): Slot<Item> {
    const slot: Slot<Item> = {
      task: undefined,
      succeeded: () => {
        const task = this.#leave(slot)
        if (task !== undefined) this.#succeeded(task)
        this.#pump()
      },
      failed: (error) => {
        const task = this.#leave(slot)
        if (task !== undefined) this.#failed(task, error)
        this.#pump()
      },
    }
    return slot
  }

  #leave(slot: Slot<Item>): Task<Item> | undefined {
    const { task } = slot
    slot.task = undefined
    this.#free.push(slot)
    this.#inFlight--
    if (task !== undefined) task.track.running--
    return task
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
    const hold = task.track.held.get(task)
    task.attempt = onNack(task.item, error, task.attempt)
    const wanted = redelivery(error, task.nacks++, redeliverMs)
    if (hold === undefined)
      task.track.held.set(task, { sinceMs: clock.now(), nacks: 1, error, alone: false, cancel: nothing })
    else Object.assign(hold, { error, nacks: task.nacks, cancel: nothing })
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

  /** What was given up still runs, and nothing of its key may. */
  #holdUntil(task: Task<Item>, settled: Promise<unknown>, error: unknown): void {
    const { track } = task
    const { clock, onNack } = this.#options
    track.abandoned++
    if (!track.closed) {
      const sinceMs = track.held.get(task)?.sinceMs ?? clock.now()
      track.held.set(task, { sinceMs, nacks: ++task.nacks, error, alone: false, cancel: nothing })
    }
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

  /** In the order of arrival: held lanes and what stands behind the first of each lane too. */
  #notStarted(track: LaneTrack<Item>): readonly Item[] {
    const heads = new Set<Task<Item>>([...track.byKey.values(), ...track.held.keys(), ...track.waiting])
    for (const task of this.#ready) if (task.track === track) heads.add(task)
    const all: Task<Item>[] = []
    for (const head of heads)
      for (let task: Task<Item> | undefined = head; task !== undefined; task = task.behind)
        if (!task.running) all.push(task)
    return all.toSorted((a, b) => a.rank - b.rank).map(({ item }) => item)
  }
}

function isOlderProbe<Item>(task: Task<Item>, than: Task<Item>): boolean {
  return task.blame < than.blame || (task.blame === than.blame && task.rank < than.rank)
}

function isYoungerProbe<Item>(task: Task<Item>, than: Task<Item>): boolean {
  return task.blame < than.blame || (task.blame === than.blame && task.rank > than.rank)
}
