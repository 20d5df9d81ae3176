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
  /** The pipelines of this process: it redrives their letters, and no others. */
  readonly pipelines: readonly Pipeline[]
  /** For redrives with the route `destination`. Without one this worker leaves them alone. */
  readonly publisher?: Publisher
  /** Says with a header which pipeline a redrive through a destination is for, so that other groups of ours skip it. @defaultValue `false` */
  readonly targetPipeline?: boolean
  /** How many keys are redriven at once. @defaultValue 8 */
  readonly concurrency?: number
  /** How long a key is held without being renewed. @defaultValue 30_000 */
  readonly leaseMs?: number
  /** How long to wait where there is nothing to do. @defaultValue 1000 */
  readonly pollMs?: number
  /** Skips the later letters of a key in this redrive once one of it dies again. @defaultValue `true` */
  readonly stopKeyOnDeath?: boolean
  /** How often the store is cleaned up, and asked for letters that were handled and of which nothing was heard. @defaultValue 60_000 */
  readonly houseworkMs?: number
  readonly clock?: Clock
}

export interface RedriveWorker {
  /** Works until the signal aborts. A store that is down is waited for. Any number may run; there is no leader. */
  run(signal: AbortSignal): Promise<void>
}

const where = 'redriveWorker'
const storeFailed = emitter('store-failed')

/** Redrives the letters of the redrives that operators made, in the process that has the pipelines. */
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
