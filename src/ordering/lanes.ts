import type { Clock } from '../clock.ts'
import { isAbandoned } from '../errors.ts'
import { LaneHeap } from './lane-heap.ts'
import { redelivery } from './redelivery.ts'
import { Lane, LaneTrack, Task } from './track.ts'

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
  lane: Lane<Item> | undefined
  readonly succeeded: () => void
  readonly failed: (error: unknown) => void
}

const leastHaltMs = 50

/** The executor behind the transports. It starts in order of arrival, which keeps close to the watermark. */
export function lanes<Item>({ concurrency, ahead, redeliverMs, clock, run, onNack }: LanesOptions<Item>): Lanes<Item> {
  const ready = new LaneHeap<Lane<Item>>()
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
    const task = new Task(item, track.window.added, arrivals++)
    track.window.add(task)
    buffered++
    const lane = key === null ? undefined : track.byKey.get(key)
    if (lane !== undefined) {
      lane.last.behind = task
      lane.last = task
      return
    }
    const made = new Lane(track, key, task)
    if (key !== null) {
      track.byKey.set(key, made)
      if (track.before !== undefined && track.runsBefore(key)) return
    }
    ready.push(made)
    if (inFlight < concurrency) pump()
  }

  function pump(): void {
    while (ready.size > 0 && placeLeft()) {
      const lane = ready.pop()
      if (lane === undefined || lane.track.closed) continue
      if (lane.first.index > lastAllowed(lane.track)) lane.track.waiting.push(lane)
      else start(lane)
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
    return ready.size === 0 || !placeLeft()
  }

  function start(lane: Lane<Item>): void {
    const slot = free.pop() ?? makeSlot()
    const { track, first } = lane
    slot.lane = lane
    lane.running = true
    inFlight++
    track.running++
    if (first.index > track.startedTo) track.startedTo = first.index
    if (halt === 'probe-due') {
      halt = 'probing'
      probe = slot
    }
    attempt(first, lane.key).then(slot.succeeded, slot.failed)
  }

  function attempt(task: Task<Item>, key: string | null): Promise<unknown> {
    try {
      return run(task.item, key, task.attempt)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  function makeSlot(): Slot<Item> {
    const slot: Slot<Item> = {
      lane: undefined,
      succeeded() {
        const { lane } = slot
        leave(slot)
        if (lane !== undefined) succeeded(lane)
        pump()
      },
      failed(error) {
        const { lane } = slot
        const wasProbe = slot === probe
        leave(slot)
        if (lane !== undefined) failed(lane, error, wasProbe)
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
    if (slot.lane !== undefined) slot.lane.track.running--
    slot.lane = undefined
    free.push(slot)
    inFlight--
  }

  function succeeded(lane: Lane<Item>): void {
    const { track, first } = lane
    lane.running = false
    if (track.closed) return goOnAfter(lane)
    if (first.behind !== undefined) {
      lane.first = first.behind
      lane.rank = lane.first.rank
      ready.push(lane)
    } else if (lane.key !== null) track.byKey.delete(lane.key)
    const passed = track.window.finish(first)
    if (passed > 0) {
      buffered -= passed
      if (track.waiting.size > 0) wake(track)
    }
    track.onDone()
  }

  function failed(lane: Lane<Item>, error: unknown, wasProbe: boolean): void {
    const { track, first } = lane
    if (isAbandoned(error)) return holdUntil(lane, error.settled)
    lane.running = false
    if (track.closed) return goOnAfter(lane)
    first.attempt = onNack(first.item, error, first.attempt)
    const { holds, afterMs } = redelivery(error, first.nacks++, redeliverMs)
    if (holds !== 'pipeline') {
      const cancel = clock.after(afterMs, () => release(lane))
      track.held.set(lane, { sinceMs: clock.now(), cancel })
      return
    }
    // It comes first again by its rank, and so is the natural probe.
    ready.push(lane)
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
  function holdUntil(lane: Lane<Item>, settled: Promise<unknown>): void {
    const { track, first } = lane
    track.abandoned++
    if (!track.closed) track.held.set(lane, { sinceMs: clock.now(), cancel: () => {} })
    const goOn = (error: unknown): void => {
      track.abandoned--
      lane.running = false
      if (track.closed) return goOnAfter(lane)
      first.attempt = onNack(first.item, error, first.attempt)
      release(lane)
    }
    settled.then(goOn, goOn)
  }

  function release(lane: Lane<Item>): void {
    lane.track.held.delete(lane)
    ready.push(lane)
    pump()
  }

  function goOnAfter(lane: Lane<Item>): void {
    const next = lane.track.ended(lane)
    if (next === undefined) return
    ready.push(next)
    pump()
  }

  function wake(track: LaneTrack<Item>): void {
    const last = lastAllowed(track)
    for (let lane = track.waiting.first; lane !== undefined && lane.first.index <= last; lane = track.waiting.first) {
      track.waiting.pop()
      ready.push(lane)
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
      if (probe?.lane?.track === track) {
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
