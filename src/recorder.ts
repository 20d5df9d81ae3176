import { staged, type Delivery, type Middleware, type Origin, type Outcome } from './delivery.ts'
import { isRetryLater, type FailureReason } from './errors.ts'
import type { HasHealth } from './health.ts'
import { instruments, type InstrumentId } from './instruments.ts'
import { countEvents, type Counted } from './recorder-events.ts'
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

/** Counts what happens, from a middleware and from events; a room of metrics reads it when somebody asks. */
export interface Recorder extends Counted {
  readonly middleware: Middleware
  watch(this: void, watched: Watched): void
  /** Works an instrument out that is only known when somebody asks; call it before reading. */
  refresh(this: void, id: InstrumentId): void
}

const failureReasons: readonly FailureReason[] = [
  'permanent',
  'attempts',
  'undecodable',
  'conflict',
  'crashed',
  'unhandled',
]
// What consumers call them in their health.
const laneStates: ReadonlyMap<string, string> = new Map([
  ['inFlight', 'in-flight'],
  ['buffered', 'buffered'],
  ['held', 'held'],
  ['abandoned', 'abandoned'],
])

export function recorder(distributionOf: DistributionOf, now: () => number = () => performance.now()): Recorder {
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
      for (const [name, part] of parts) series('partLive').of(name).value = Number(part.health().live)
    },
    partReady() {
      for (const [name, part] of parts) series('partReady').of(name).value = Number(part.health().ready)
    },
    lanes() {
      for (const [name, part] of parts)
        for (const [detail, value] of Object.entries(part.health().details)) {
          const state = laneStates.get(detail)
          if (state !== undefined && typeof value === 'number') series('lanes').of(name, state).value = value
        }
    },
  }

  const middleware: Middleware = (next, place) => {
    const pipeline = place?.pipeline ?? ''
    pipelines.add(pipeline)
    const ended = endings(counted, pipeline)
    const inFlight = series('inFlight').of(pipeline)
    const durationFrom = durations(distribution('duration'), pipeline)
    return function metrics(delivery) {
      const startedMs = now()
      inFlight.value++
      return next(delivery).then(
        (outcome) => {
          inFlight.value--
          ended[outcome].value++
          durationFrom(delivery.origin).observe((now() - startedMs) / 1000)
          return outcome
        },
        (error: unknown) => {
          inFlight.value--
          ended.nacked.value++
          durationFrom(delivery.origin).observe((now() - startedMs) / 1000)
          nacked(counted, delivery, error)
          throw error
        },
      )
    }
  }

  return {
    ...counted,
    middleware: staged(middleware, { name: 'metrics', excludes: { metrics: 'each message would count twice' } }),
    watch(watched) {
      for (const [name, part] of Object.entries(watched.parts ?? {})) parts.set(name, part)
      for (const budget of watched.budgets ?? []) budgets.set(budget.name, budget)
    },
    refresh: (id) => workedOut[id]?.(),
  }
}

/** The series of how deliveries end, and all others of the pipeline: the rate of one that appears late misses its first. */
function endings({ series }: Counted, pipeline: string): Readonly<Record<Outcome | 'nacked', Series>> {
  const only = ['retries', 'retriesRefused', 'abandoned', 'conflicts', 'leasesLost', 'deadLetterFailures'] as const
  for (const id of only) series(id).of(pipeline)
  for (const reason of failureReasons) series('deadLetters').of(pipeline, reason)
  series('attempts').of(pipeline, 'failed')
  series('duplicates').of(pipeline, 'true')
  const of = (ending: Outcome | 'nacked'): Series => series('deliveries').of(pipeline, ending)
  return {
    handled: of('handled'),
    duplicate: of('duplicate'),
    stale: of('stale'),
    parked: of('parked'),
    'dead-lettered': of('dead-lettered'),
    discarded: of('discarded'),
    nacked: of('nacked'),
  }
}

/** Deliveries of one pipeline mostly come from one place: then nothing is looked up. */
function durations(of: Family<Distribution>, pipeline: string): (origin: Origin) => Distribution {
  let system = ''
  let destination = ''
  let last: Distribution | undefined
  return (origin) => {
    if (last === undefined || origin.destination !== destination || origin.system !== system) {
      ;({ system, destination } = origin)
      last = of.of(pipeline, system, destination)
    }
    return last
  }
}

function nacked({ series, distribution }: Counted, { pipeline }: Delivery, error: unknown): void {
  if (!isRetryLater(error)) return void series('nacks').of(pipeline, 'nothing').value++
  series('nacks').of(pipeline, error.holds).value++
  if (error.holds === 'message')
    distribution('retryDelay')
      .of(pipeline)
      .observe(error.afterMs / 1000)
}
