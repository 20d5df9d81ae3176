import { sleep, systemClock, type Clock } from '../core/clock.ts'
import { emitter } from '../core/events.ts'
import {
  badOption,
  checkArgument,
  checkOptions,
  clockKind,
  count,
  flag,
  having,
  list,
  ms,
  required,
} from '../core/options.ts'
import type { Pipeline } from '../core/pipeline.ts'
import type { Publisher } from '../core/publisher.ts'
import { redriveThroughDestination } from './redrive-destination.ts'
import { redriveThroughPipeline } from './redrive-pipeline.ts'
import type { RedriveContext } from './redrive-route.ts'
import type { RedriveStore } from './store.ts'

export interface RedriveWorkerOptions {
  readonly store: RedriveStore
  /** The pipelines of this process. The worker redrives only their letters. */
  readonly pipelines: readonly Pipeline[]
  /** Publishes redrives with the route `destination`. Without a publisher this worker skips them. */
  readonly publisher?: Publisher
  /** Adds a header that names the pipeline of a redrive through a destination. Other holdfast groups then skip the message. @defaultValue `false` */
  readonly targetPipeline?: boolean
  /** Number of keys redriven at once. @defaultValue 8 */
  readonly concurrency?: number
  /** Length of a key's lease in ms, unless it is renewed. @defaultValue 30_000 */
  readonly leaseMs?: number
  /** Poll interval in ms when there is nothing to redrive. @defaultValue 1000 */
  readonly pollMs?: number
  /** Skips a key's later letters in this redrive after one of its letters fails again. @defaultValue `true` */
  readonly stopKeyOnDeath?: boolean
  /** Interval of housekeeping in ms: cleans the store, and resolves letters that were handled without a report. @defaultValue 60_000 */
  readonly houseworkMs?: number
  readonly clock?: Clock
}

export interface RedriveWorker {
  /** Redrives until the signal aborts. Waits while the store is down. Any number of workers may run; there is no leader. */
  run(signal: AbortSignal): Promise<void>
}

const where = 'redriveWorker'
const storeFailed = emitter('store-failed')

/** Runs the redrives that operators created, in the process that has the pipelines. */
export function redriveWorker(options: RedriveWorkerOptions): RedriveWorker {
  const {
    store,
    pipelines,
    publisher,
    targetPipeline = false,
    concurrency = 8,
    leaseMs = 30_000,
    pollMs = 1000,
    stopKeyOnDeath = true,
    houseworkMs = 60_000,
    clock = systemClock,
  } = checkOptions(where, options, {
    store: required(having('active', 'claimLanes', 'begin', 'advance')),
    pipelines: required(list),
    publisher: having('publish'),
    targetPipeline: flag,
    concurrency: count(),
    leaseMs: ms(),
    pollMs: ms(),
    stopKeyOnDeath: flag,
    houseworkMs: ms(),
    clock: clockKind,
  })
  const byName = new Map<string, Pipeline>()
  for (const each of pipelines) {
    checkArgument(where, 'pipelines', each, having('dispatch'))
    if (byName.has(each.name)) throw badOption(where, 'pipelines', 'pipelines of different names', each.name)
    byName.set(each.name, each)
  }
  const owner = `${crypto.randomUUID()}`
  const context: RedriveContext = { store, owner, leaseMs, concurrency, stopKeyOnDeath, clock }
  const routes = {
    pipeline: byName.size === 0 ? undefined : redriveThroughPipeline(context, byName),
    destination: publisher === undefined ? undefined : redriveThroughDestination(context, publisher, targetPipeline),
  }

  /** One look at every running redrive: how many letters were begun. */
  async function round(signal: AbortSignal): Promise<number> {
    let worked = 0
    for (const redrive of await store.active()) {
      if (signal.aborted) break
      const done = await (routes[redrive.route]?.(redrive, signal) ?? 0)
      worked += done
      if (done === 0) await store.finish(redrive.id)
    }
    return worked
  }

  return {
    async run(signal) {
      let houseworkAt = clock.now()
      while (!signal.aborted) {
        let worked = 0
        try {
          worked = await round(signal)
          if (clock.now() >= houseworkAt) {
            houseworkAt = clock.now() + houseworkMs
            await store.reconcile()
            await store.clean()
          }
        } catch (error) {
          if (storeFailed.active()) storeFailed.publish({ store: 'dead-letter', operation: 'redrive', error })
        }
        if (worked === 0) await sleep(clock, pollMs, signal).catch(() => undefined)
      }
    },
  }
}
