import { isAbandoned } from '../core/errors.ts'
import { Drains } from './drains.ts'
import { gather, mostFollowers } from './followers.ts'
import { Halt } from './halt.ts'
import type { LaneHeap } from './lane-heap.ts'
import type { Lanes, LanesOptions } from './lanes-options.ts'
import { readyLine } from './ready-line.ts'
import { redelivery, type Redelivery } from './redelivery.ts'
import { Slots } from './slots.ts'
import { LaneTrack, Task, type TrackOptions } from './track.ts'

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
  readonly #slots: Slots<Task<Item>>
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
    this.#slots = new Slots(
      options.run,
      (task, outcome) => {
        if (task.following !== undefined) this.#followed(task, true)
        else {
          this.#left(task)
          if (task.behind !== undefined && options.putsAway?.(outcome) === true) task.behind.follows = true
          this.#succeeded(task)
        }
        this.#pump()
      },
      (task, error) => {
        if (task.following !== undefined) this.#followed(task, false)
        else {
          this.#left(task)
          this.#failed(task, error)
        }
        this.#pump()
      },
    )
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
      if (task.follows) this.#startTogether(task)
      else this.#start(task)
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
    track.started(task)
    this.#inFlight++
    track.running++
    this.#halt.started(task)
    this.#slots.run(task)
  }

  /** Those behind it are only to be put away too. None of them does any work, so they have one place. */
  #startTogether(first: Task<Item>): void {
    const alone = this.#quitting || this.#halt.isOn
    const run = gather(first, alone ? 1 : mostFollowers, this.#lastAllowed(first.track))
    first.follows = false
    run?.tasks.forEach((task, place) => (task.following = { run, place }))
    this.#start(first)
    for (const task of run?.tasks.slice(1) ?? []) {
      task.track.started(task)
      this.#slots.run(task)
    }
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
    this.#finish(task)
  }

  #finish(task: Task<Item>): void {
    const { track } = task
    const passed = track.window.finish(task)
    if (passed > 0) {
      this.#buffered -= passed
      if (!track.waiting.isEmpty) this.#wake(track)
    }
    track.onDone(task.item)
  }

  /** One of those that started together has ended. When all have, the lane goes on at the first that was not put away. */
  #followed(task: Task<Item>, isDone: boolean): void {
    const { track, key } = task
    const run = task.following?.run
    if (run?.ended(task, isDone) !== true) return
    this.#left(task)
    for (const each of run.tasks) {
      each.running = false
      each.following = undefined
    }
    track.tellSettled()
    if (track.closed) return this.#goOnAfter(task)
    const head = run.unlink()
    track.lead(key, head)
    for (const each of run.tasks) {
      if (!run.done.has(each)) continue
      if (each.nacks > 0) track.held.delete(each)
      this.#finish(each)
    }
    if (head === undefined) return
    head.follows = run.done.size === run.tasks.length
    this.#offer(head)
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
