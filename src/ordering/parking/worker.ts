import { systemClock, type Clock } from '../../core/clock.ts'
import { emitter } from '../../core/events.ts'
import type { HasHealth, Health } from '../../core/health.ts'
import {
  badOption,
  checkArgument,
  checkOptions,
  clockKind,
  count,
  having,
  list,
  ms,
  required,
} from '../../core/options.ts'
import type { ParkingTerms } from '../../core/parking.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import { PipelineLanes } from './pipeline-lanes.ts'
import type { ParkingStore } from './store.ts'

export interface ParkingWorkerOptions {
  /** The store of `parking()`: the same object. */
  readonly store: ParkingStore
  /** The pipelines of this process. The worker runs only their parked messages. */
  readonly pipelines: readonly Pipeline[]
  /** Lanes that run at once, for each pipeline. @defaultValue 16 */
  readonly concurrency?: number
  /** Length of a lane's lease in ms. It is renewed every `leaseMs / 3`. @defaultValue 30_000 */
  readonly leaseMs?: number
  /** Poll interval in ms while nothing is due. @defaultValue 250 */
  readonly pollMs?: number
  /** Most messages of a lane read at once. @defaultValue 50 */
  readonly pageSize?: number
  /** Longest time in ms that running handlers get to end after a stop. @defaultValue 10_000 */
  readonly drainMs?: number
  /** How often to tell what is parked, in ms. @defaultValue 10_000 */
  readonly statusEveryMs?: number
  readonly clock?: Clock
}

export interface ParkingWorker extends HasHealth {
  /** Runs parked messages until the signal aborts. Waits while the store is down. Any number of processes may run one; there is no leader. */
  run(signal: AbortSignal): Promise<void>
}

const where = 'parkingWorker'
const ended = emitter('parking-worker-ended')

/** Runs what `parking()` parked: the head of each lane when it is due, then its followers in order, through the same pipeline. */
export function parkingWorker(options: ParkingWorkerOptions): ParkingWorker {
  const {
    store,
    pipelines,
    concurrency = 16,
    leaseMs = 30_000,
    pollMs = 250,
    pageSize = 50,
    drainMs = 10_000,
    statusEveryMs = 10_000,
    clock = systemClock,
  } = checkOptions(where, options, {
    store: required(having('claimLanes', 'renewLanes', 'load', 'remove', 'free', 'reschedule')),
    pipelines: required(list),
    concurrency: count(),
    leaseMs: ms(3),
    pollMs: ms(),
    pageSize: count(),
    drainMs: ms(0),
    statusEveryMs: ms(),
    clock: clockKind,
  })
  const owner = crypto.randomUUID()
  const names = new Set<string>()
  const all = pipelines.map((pipeline) => {
    const terms = termsOf(pipeline, store)
    if (names.has(pipeline.name)) throw badOption(where, 'pipelines', 'pipelines of different names', pipeline.name)
    names.add(pipeline.name)
    const shape = { concurrency, leaseMs, pollMs, pageSize, drainMs, statusEveryMs }
    return new PipelineLanes({ store, pipeline, terms, owner, clock, ...shape })
  })
  let running = false

  return {
    async run(signal) {
      running = true
      try {
        await Promise.all(all.map((lanes) => lanes.run(signal)))
      } finally {
        running = false
        if (ended.active()) ended.publish({ worker: owner })
      }
    },
    health() {
      const parts = all.map((lanes) => lanes.health())
      return worst(parts, running)
    },
  }
}

function termsOf(pipeline: Pipeline, store: ParkingStore): ParkingTerms {
  checkArgument(where, 'pipelines', pipeline, having('step'))
  const terms = pipeline.stages.find((stage) => stage.parking !== undefined)?.parking
  if (terms === undefined) throw badOption(where, 'pipelines', 'pipelines with parking() or delayed()', pipeline.name)
  if (terms.store !== store)
    throw badOption(where, 'store', `the store object of parking() in '${pipeline.name}'`, store)
  return terms
}

function worst(parts: readonly Health[], running: boolean): Health {
  return {
    name: 'parking worker',
    live: parts.every(({ live }) => live),
    ready: running && parts.every(({ ready }) => ready),
    details: { running, ...Object.fromEntries(parts.map(({ name, ready, details }) => [name, { ready, ...details }])) },
  }
}
