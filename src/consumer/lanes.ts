import { Drains } from './drains.ts'
import { gather, mostFollowers } from './followers.ts'
import { Halt } from './halt.ts'
import type { Lanes, LanesOptions } from './lanes-options.ts'
import { Nacked } from './nacked.ts'
import { Slots } from './slots.ts'
import { StartLine } from './start-line.ts'
import { LaneTrack, Task, type TrackOptions } from './track.ts'

/** The executor behind the transports. It starts in order of arrival, which keeps close to the watermark. */
export function lanes<Item>(options: LanesOptions<Item>): Lanes<Item> {
  return new LaneExecutor(options)
}

class LaneExecutor<Item> implements Lanes<Item> {
  readonly #options: LanesOptions<Item>
  readonly #line: StartLine<Item>
  readonly #tracks = new Set<LaneTrack<Item>>()
  readonly #drains = new Drains<LaneTrack<Item>>()
  readonly #slots: Slots<Task<Item>>
  readonly #halt: Halt<Item>
  readonly #nacked: Nacked<Item>
  #inFlight = 0
  #buffered = 0
  #arrivals = 0

  constructor(options: LanesOptions<Item>) {
    this.#options = options
    const pump = (): void => this.#pump()
    this.#line = new StartLine(options)
    this.#halt = new Halt(options.clock, pump)
    this.#nacked = new Nacked(options, this.#line, this.#halt, pump)
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
          this.#nacked.failed(task, error)
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
    track.draining = this.#line.isDraining
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
    this.#line.offer(task)
    if (this.#inFlight < this.#options.concurrency) this.#pump()
  }

  close(track: LaneTrack<Item>): readonly Item[] {
    if (track.closed) return []
    const left = track.window.size === 0 ? [] : track.notStarted(this.#line.ready)
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
    if (track === undefined) this.#line.isDraining = true
    for (const each of track === undefined ? this.#tracks : [track]) each.draining = true
    this.#line.setAside()
    const drained = this.#drains.add(track)
    this.#pump()
    return drained
  }

  resume(track?: LaneTrack<Item>): void {
    if (track === undefined) this.#line.isDraining = false
    for (const each of track === undefined ? this.#tracks : [track]) {
      each.draining = false
      this.#line.wake(each)
    }
    this.#pump()
  }

  quit(): void {
    this.#line.isQuitting = true
    for (const track of this.#tracks) for (const hold of track.held.values()) hold.cancel()
    this.#halt.end()
    this.#line.setAside()
  }

  #pump(): void {
    while (!this.#line.isEmpty && this.#placeLeft()) {
      const task = this.#halt.isProbeDue ? this.#halt.takeProbe(this.#line.ready) : this.#line.ready.pop()
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
    const alone = this.#line.isQuitting || this.#halt.isOn
    const run = gather(first, alone ? 1 : mostFollowers, this.#line.lastAllowed(first.track))
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
    if (track.closed) return void this.#line.goOnAfter(task)
    if (task.nacks > 0) track.held.delete(task)
    if (key !== null) {
      if (behind === undefined) track.byKey.delete(key)
      else {
        if (behind !== task.last) behind.last = task.last
        // What is old and done must not keep what is young alive.
        task.behind = task.last = undefined
        track.byKey.set(key, behind)
        this.#line.offer(behind)
      }
    }
    this.#finish(task)
  }

  #finish(task: Task<Item>): void {
    const { track } = task
    const passed = track.window.finish(task)
    if (passed > 0) {
      this.#buffered -= passed
      if (!track.waiting.isEmpty) this.#line.wake(track)
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
    if (track.closed) return void this.#line.goOnAfter(task)
    const head = run.unlink()
    track.lead(key, head)
    for (const each of run.tasks) {
      if (!run.done.has(each)) continue
      if (each.nacks > 0) track.held.delete(each)
      this.#finish(each)
    }
    if (head === undefined) return
    head.follows = run.done.size === run.tasks.length
    this.#line.offer(head)
  }
}
