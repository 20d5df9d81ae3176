import type { Clock } from '../core/clock.ts'
import { isAbandoned } from '../core/errors.ts'
import { LaneHeap } from './lane-heap.ts'
import { redelivery } from './redelivery.ts'
import { LaneTrack, Task } from './track.ts'

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
}

/** Runs items of many tracks at once: those of one key in order and one at a time, all others side by side. */
export interface Lanes<Item> {
  /** Starts a track: one ownership of one partition. Keys that still run in `after`, the one before, wait for that. */
  open(options?: { readonly after?: LaneTrack<Item> | undefined; readonly onDone?: () => void }): LaneTrack<Item>
  /** An item without a key is in order with nothing. */
  add(track: LaneTrack<Item>, key: string | null, item: Item): void
  /** Forgets what has not started; what runs goes on, and its end changes nothing. */
  close(track: LaneTrack<Item>): void
  /** Starts only what lies before something already started; resolves when none of that can go on any more. */
  drain(): Promise<void>
  /** Ends a drain. */
  resume(): void
  /** Items started and not settled, those of closed tracks included. */
  readonly inFlight: number
  /** Items added and not passed by their watermark, of open tracks. */
  readonly buffered: number
  /** Whether all wait for a probe, since an item said that it holds the pipeline. */
  readonly halted: boolean
}

/** A place for one running task, with its two continuations made once. */
interface Slot<Item> {
  task: Task<Item> | undefined
  readonly succeeded: () => void
  readonly failed: (error: unknown) => void
}

const leastHaltMs = 50

/** The executor behind the transports. It starts in order of arrival, which keeps close to the watermark. */
export function lanes<Item>({ concurrency, ahead, redeliverMs, clock, run, onNack }: LanesOptions<Item>): Lanes<Item> {
  const ready = new LaneHeap<Task<Item>>()
  const tracks = new Set<LaneTrack<Item>>()
  const free: Slot<Item>[] = []
  let inFlight = 0
  let buffered = 0
  let arrivals = 0
  let draining = false
  const drained: (() => void)[] = []
  // After an item held the pipeline, nothing starts until one alone, the probe, got through.
  let halt: 'no' | 'waiting' | 'probe-due' | 'probing' = 'no'
  let probe: Slot<Item> | undefined
  let cancelHalt = (): void => {}

  function add(track: LaneTrack<Item>, key: string | null, item: Item): void {
    if (track.closed) return
    const task = new Task(item, track.window.added, track, key, arrivals++)
    track.window.add(task)
    buffered++
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
    ready.push(task)
    if (inFlight < concurrency) pump()
  }

  function pump(): void {
    while (!ready.isEmpty && placeLeft()) {
      const task = ready.pop()
      if (task === undefined || task.track.closed) continue
      if (task.index > lastAllowed(task.track)) task.track.waiting.push(task)
      else start(task)
    }
    if (drained.length > 0 && settled()) for (const resolve of drained.splice(0)) resolve()
  }

  function placeLeft(): boolean {
    return inFlight < concurrency && (halt === 'no' || halt === 'probe-due')
  }

  function lastAllowed(track: LaneTrack<Item>): number {
    return draining ? track.startedTo : track.window.passed + ahead - 1
  }

  function settled(): boolean {
    for (const track of tracks) if (track.running > 0) return false
    return ready.isEmpty || !placeLeft()
  }

  function start(task: Task<Item>): void {
    const slot = free.pop() ?? makeSlot()
    const { track } = task
    slot.task = task
    task.running = true
    inFlight++
    track.running++
    if (task.index > track.startedTo) track.startedTo = task.index
    if (halt === 'probe-due') {
      halt = 'probing'
      probe = slot
    }
    attempt(task).then(slot.succeeded, slot.failed)
  }

  function attempt({ item, key, attempt }: Task<Item>): Promise<unknown> {
    try {
      return run(item, key, attempt)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  function makeSlot(): Slot<Item> {
    const slot: Slot<Item> = {
      task: undefined,
      succeeded() {
        const { task } = slot
        leave(slot)
        if (task !== undefined) succeeded(task)
        pump()
      },
      failed(error) {
        const { task } = slot
        const wasProbe = slot === probe
        leave(slot)
        if (task !== undefined) failed(task, error, wasProbe)
        pump()
      },
    }
    return slot
  }

  function leave(slot: Slot<Item>): void {
    if (slot === probe) {
      probe = undefined
      halt = 'no'
    }
    if (slot.task !== undefined) slot.task.track.running--
    slot.task = undefined
    free.push(slot)
    inFlight--
  }

  function succeeded(task: Task<Item>): void {
    const { track, key, behind } = task
    task.running = false
    if (track.closed) return goOnAfter(task)
    if (key !== null) {
      if (behind === undefined) track.byKey.delete(key)
      else {
        if (behind !== task.last) behind.last = task.last
        // What is old and done must not keep what is young alive.
        task.behind = task.last = undefined
        track.byKey.set(key, behind)
        ready.push(behind)
      }
    }
    const passed = track.window.finish(task)
    if (passed > 0) {
      buffered -= passed
      if (!track.waiting.isEmpty) wake(track)
    }
    track.onDone()
  }

  function failed(task: Task<Item>, error: unknown, wasProbe: boolean): void {
    const { track } = task
    if (isAbandoned(error)) return holdUntil(task, error.settled)
    task.running = false
    if (track.closed) return goOnAfter(task)
    task.attempt = onNack(task.item, error, task.attempt)
    const { holds, afterMs } = redelivery(error, task.nacks++, redeliverMs)
    if (holds !== 'pipeline') {
      const cancel = clock.after(afterMs, () => release(task))
      track.held.set(task, { sinceMs: clock.now(), cancel })
      return
    }
    // It comes first again by its rank, and so is the natural probe.
    ready.push(task)
    if (halt === 'no' || wasProbe) stopFor(Math.max(afterMs, leastHaltMs))
  }

  function stopFor(ms: number): void {
    halt = 'waiting'
    cancelHalt = clock.after(ms, () => {
      halt = 'probe-due'
      pump()
    })
  }

  /** What was given up still runs, and nothing of its key may. */
  function holdUntil(task: Task<Item>, settled: Promise<unknown>): void {
    const { track } = task
    track.abandoned++
    if (!track.closed) track.held.set(task, { sinceMs: clock.now(), cancel: () => {} })
    const goOn = (error: unknown): void => {
      track.abandoned--
      task.running = false
      if (track.closed) return goOnAfter(task)
      task.attempt = onNack(task.item, error, task.attempt)
      release(task)
    }
    settled.then(goOn, goOn)
  }

  function release(task: Task<Item>): void {
    task.track.held.delete(task)
    ready.push(task)
    pump()
  }

  function goOnAfter(task: Task<Item>): void {
    const next = task.track.ended(task)
    if (next === undefined) return
    ready.push(next)
    pump()
  }

  function wake(track: LaneTrack<Item>): void {
    const last = lastAllowed(track)
    for (let { first } = track.waiting; first !== undefined && first.index <= last; { first } = track.waiting) {
      track.waiting.pop()
      ready.push(first)
    }
  }

  return {
    add,
    open({ after, onDone = () => {} } = {}) {
      const track = new LaneTrack<Item>(after, onDone)
      tracks.add(track)
      return track
    },
    close(track) {
      if (track.closed) return
      buffered -= track.window.size
      tracks.delete(track)
      track.close()
      if (probe?.task?.track === track) {
        probe = undefined
        halt = 'probe-due'
      }
      if (tracks.size === 0 && halt === 'waiting') {
        // Nothing is left to wait for: the timer must not keep a process alive.
        cancelHalt()
        halt = 'probe-due'
      }
      pump()
    },
    drain() {
      draining = true
      return new Promise((resolve) => {
        drained.push(resolve)
        pump()
      })
    },
    resume() {
      draining = false
      for (const track of tracks) wake(track)
      pump()
    },
    get inFlight() {
      return inFlight
    },
    get buffered() {
      return buffered
    },
    get halted() {
      return halt !== 'no'
    },
  }
}
