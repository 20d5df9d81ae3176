import type { Middleware } from '../delivery.ts'
import { health, type HasHealth } from '../health.ts'
import { instruments, type InstrumentId } from './instruments.ts'
import { list, objects, type Kinds } from '../options.ts'
import { countEvents, type Counted } from './recorder-events.ts'
import { recorderMiddleware } from './recorder-middleware.ts'
import { family, type Distribution, type DistributionOf, type Family, type Series } from './series.ts'

/** What a retry budget shows. */
export interface HasTokens {
  readonly name: string
  readonly tokens: number
}

export interface Watched {
  /** Consumers, relays, breakers, by the name that they get in the metrics. */
  readonly parts?: Readonly<Record<string, HasHealth>>
  readonly budgets?: readonly HasTokens[]
}

export const watchedKinds: Kinds<Watched> = { parts: objects, budgets: list }

/** Counts what happens, from a middleware and from events; a room of metrics reads it when somebody asks. */
export interface Recorder extends Counted {
  readonly middleware: Middleware
  watch(this: void, watched: Watched): void
  /** Works an instrument out that is only known when somebody asks; call it before reading. */
  refresh(this: void, id: InstrumentId): void
}

// What consumers call them in their health.
const laneStates: ReadonlyMap<string, string> = new Map([
  ['inFlight', 'in-flight'],
  ['buffered', 'buffered'],
  ['held', 'held'],
  ['abandoned', 'abandoned'],
])

// What a bulkhead calls them.
const placeStates: ReadonlyMap<string, string> = new Map([
  ['running', 'running'],
  ['waiting', 'waiting'],
  ['granted', 'granted'],
])

export interface RecorderOptions {
  readonly distributionOf: DistributionOf
  readonly now?: () => number
}

export function recorder({ distributionOf, now = () => performance.now() }: RecorderOptions): Recorder {
  const kept = new Map<InstrumentId, Family<Series>>()
  const distributed = new Map<InstrumentId, Family<Distribution>>()
  const pipelines = new Set<string>()
  const parts = new Map<string, HasHealth>()
  const budgets = new Map<string, HasTokens>()

  function series(id: InstrumentId): Family<Series> {
    const made = kept.get(id) ?? family(instruments[id], (labels) => ({ labels, value: 0 }))
    kept.set(id, made)
    return made
  }

  function distribution(id: InstrumentId): Family<Distribution> {
    const made = distributed.get(id) ?? family(instruments[id], (labels) => distributionOf(instruments[id], labels))
    distributed.set(id, made)
    return made
  }

  const counted: Counted = { series, distribution, isMeasured: (pipeline) => pipelines.has(pipeline) }
  countEvents(counted)

  const workedOut: { readonly [Id in InstrumentId]?: () => void } = {
    attempts() {
      // A handled message had one run of the handler that succeeded, its last.
      for (const pipeline of pipelines)
        series('attempts').of(pipeline, 'succeeded').value = series('deliveries').of(pipeline, 'handled').value
    },
    retryBudget() {
      for (const { name, tokens } of budgets.values()) series('retryBudget').of(name).value = tokens
    },
    partLive() {
      for (const [name, part] of parts) series('partLive').of(name).value = Number(health(part).live)
    },
    partReady() {
      for (const [name, part] of parts) series('partReady').of(name).value = Number(health(part).ready)
    },
    lanes: () => showDetails('lanes', laneStates, () => true),
    limitPlaces: () => showDetails('limitPlaces', placeStates, (details) => 'maxConcurrent' in details),
  }

  function showDetails(
    id: InstrumentId,
    states: ReadonlyMap<string, string>,
    isShown: (details: Readonly<Record<string, unknown>>) => boolean,
  ): void {
    for (const [name, part] of parts)
      for (const { details } of health(part).parts.filter((each) => isShown(each.details)))
        for (const [detail, value] of Object.entries(details)) {
          const state = states.get(detail)
          if (state !== undefined && typeof value === 'number') series(id).of(name, state).value = value
        }
  }

  return {
    ...counted,
    middleware: recorderMiddleware(counted, { now, began: (pipeline) => pipelines.add(pipeline) }),
    watch(watched) {
      for (const [name, part] of Object.entries(watched.parts ?? {})) parts.set(name, part)
      for (const budget of watched.budgets ?? []) budgets.set(budget.name, budget)
    },
    refresh(id) {
      try {
        workedOut[id]?.()
      } catch {
        // A part or a budget that cannot be asked must not take everything else down with it.
      }
    },
  }
}
