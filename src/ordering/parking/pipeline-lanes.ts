import { sleep } from '../../core/clock.ts'
import { emitter } from '../../core/events.ts'
import { textOf } from '../../core/errors.ts'
import type { Health } from '../../core/health.ts'
import { untilAborted } from '../../core/signals.ts'
import { LaneRun, type LaneContext, type LaneEnd } from './lane-run.ts'
import type { LaneLease, ParkingStatus } from './store.ts'

export interface PipelineLanesOptions extends Omit<LaneContext, 'stopping' | 'onHandled' | 'onPipelineHeld'> {
  readonly owner: string
  readonly concurrency: number
  readonly leaseMs: number
  readonly pollMs: number
  readonly drainMs: number
  readonly statusEveryMs: number
}

const laneChanged = emitter('lane-changed')
const told = emitter('parking-status')
const storeFailed = emitter('store-failed')

const leastHaltMs = 50
// Without an answer of the store for so many polls, or leases, the worker is stale.
const staleLeases = 3

/** The lanes of one pipeline that this process holds. */
export class PipelineLanes {
  readonly #options: PipelineLanesOptions
  readonly #running = new Map<LaneRun, Promise<void>>()
  /** The pipeline is held until then. After that one lane goes first. */
  #haltedUntilMs: number | undefined
  #answeredMs: number
  #status: ParkingStatus | undefined
  #lastError: string | null = null

  constructor(options: PipelineLanesOptions) {
    this.#options = options
    this.#answeredMs = options.clock.now()
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, leaseMs, statusEveryMs, drainMs, pollMs, concurrency } = this.#options
    const over = new AbortController()
    const watching = [
      this.#every(leaseMs / 3, over.signal, 'renew', () => this.#renew()),
      // By itself: a store that never answers must not keep a lane from being given up.
      this.#every(leaseMs / 6, over.signal, 'lapse', () => this.#abortLapsed()),
      this.#every(statusEveryMs, over.signal, 'status', () => this.#tell()),
    ]
    this.#answeredMs = clock.now()
    while (!signal.aborted) {
      const room = this.#room()
      const begun = room > 0 ? await this.#begin(room, signal) : 0
      if (this.#running.size >= concurrency)
        await untilAborted(signal, Promise.race(this.#running.values())).catch(() => {})
      else if (begun < room || room <= 0) await sleep(clock, pollMs, signal).catch(() => undefined)
    }
    const cancel = clock.after(drainMs, () => this.#abortAll('the worker stops'))
    await Promise.all(this.#running.values())
    cancel()
    over.abort()
    await Promise.all(watching)
  }

  health(): Health {
    const { clock, pipeline, leaseMs, pollMs, terms } = this.#options
    const silentMs = clock.now() - this.#answeredMs
    const stale = silentMs > staleLeases * Math.max(leaseMs, pollMs)
    const oldestAgeMs = this.#status?.oldestAgeMs ?? null
    const tooOld = oldestAgeMs !== null && oldestAgeMs > terms.maxAgeMs
    const problem = stale
      ? 'the store has not answered: see lastError'
      : tooOld
        ? 'a message has waited for longer than maxAgeMs: holdfast keys ls shows it'
        : null
    return {
      name: pipeline.name,
      live: true,
      ready: problem === null,
      details: {
        problem,
        held: this.#running.size,
        halted: this.#haltedUntilMs !== undefined,
        lastError: this.#lastError,
        ...this.#status,
      },
    }
  }

  #room(): number {
    const { clock, concurrency } = this.#options
    if (this.#haltedUntilMs === undefined) return concurrency - this.#running.size
    return clock.now() >= this.#haltedUntilMs && this.#running.size === 0 ? 1 : 0
  }

  async #begin(limit: number, stopping: AbortSignal): Promise<number> {
    const { store, pipeline, owner, leaseMs, clock } = this.#options
    const sentMs = clock.now()
    let leases: readonly LaneLease[]
    try {
      leases = await store.claimLanes({ pipeline: pipeline.name, limit, owner, leaseMs })
      this.#answeredMs = clock.now()
    } catch (error) {
      this.#failed('claim lanes', error)
      return 0
    }
    // Nobody is there to probe with: the next lane that comes is the probe.
    if (leases.length === 0) this.#haltedUntilMs = undefined
    for (const lease of leases) {
      const lane = new LaneRun(this.#contextOf(stopping), lease, sentMs)
      const ended = this.#runLane(lane).finally(() => this.#running.delete(lane))
      this.#running.set(lane, ended)
    }
    return leases.length
  }

  #contextOf(stopping: AbortSignal): LaneContext {
    const { clock } = this.#options
    return {
      ...this.#options,
      stopping,
      onHandled: () => {
        if (this.#haltedUntilMs !== undefined && clock.now() >= this.#haltedUntilMs) this.#haltedUntilMs = undefined
      },
      onPipelineHeld: (afterMs) => (this.#haltedUntilMs = clock.now() + Math.max(afterMs, leastHaltMs)),
    }
  }

  async #runLane(lane: LaneRun): Promise<void> {
    try {
      this.#changed(lane, await lane.run())
      this.#answeredMs = this.#options.clock.now()
    } catch (error) {
      // Its lease lapses, and another worker goes on with it.
      this.#failed('run lane', error)
    }
  }

  #changed({ lease, key }: LaneRun, end: LaneEnd): void {
    if (end === 'waits' || end === 'stopped' || !laneChanged.active()) return
    laneChanged.publish({ pipeline: lease.pipeline, lane: lease.lane, change: end, key })
  }

  async #renew(): Promise<void> {
    const { store, leaseMs, clock } = this.#options
    const lanes = [...this.#running.keys()]
    if (lanes.length === 0) return
    const sentMs = clock.now()
    const kept = await store.renewLanes(
      lanes.map(({ lease }) => lease),
      leaseMs,
    )
    this.#answeredMs = clock.now()
    const tokens = new Set(kept)
    for (const lane of lanes)
      if (tokens.has(lane.lease.token)) lane.goodMs = sentMs
      else lane.abort(new Error('another worker holds the lane'))
  }

  async #tell(): Promise<void> {
    const { store, pipeline, owner } = this.#options
    this.#status = await store.status(pipeline.name)
    this.#answeredMs = this.#options.clock.now()
    if (told.active()) told.publish({ worker: owner, pipeline: pipeline.name, ...this.#status })
  }

  async #every(everyMs: number, over: AbortSignal, operation: string, work: () => Promise<void>): Promise<void> {
    const { clock } = this.#options
    while (!over.aborted) {
      await untilAborted(over, work()).catch((error: unknown) => {
        if (!over.aborted) this.#failed(operation, error)
      })
      await sleep(clock, everyMs, over).catch(() => undefined)
    }
  }

  #abortLapsed(): Promise<void> {
    const { clock, leaseMs } = this.#options
    for (const lane of this.#running.keys())
      if (clock.now() - lane.goodMs >= leaseMs) lane.abort(new Error('the lease of the lane has ended'))
    return Promise.resolve()
  }

  #abortAll(reason: string): void {
    for (const lane of this.#running.keys()) lane.abort(new Error(reason))
  }

  #failed(operation: string, error: unknown): void {
    this.#lastError = `${operation}: ${textOf(error).errorMessage}`
    if (storeFailed.active()) storeFailed.publish({ store: this.#options.store.name, operation, error })
  }
}
