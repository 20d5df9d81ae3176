import { staged, type Middleware, type Origin, type Outcome } from '../delivery.ts'
import { failureReasons, isRetryLater } from '../errors.ts'
import type { Counted } from './recorder-events.ts'
import type { Distribution, Family, Series } from './series.ts'

interface MiddlewareOptions {
  readonly now: () => number
  /** Told which pipelines are measured. */
  readonly began: (pipeline: string) => void
}

/** One delivery on its way. Used again for the next one, so that a delivery makes nothing but its promise. */
interface Timing {
  origin: Origin
  startedMs: number
  readonly succeeded: (this: void, outcome: Outcome) => Outcome
  readonly failed: (this: void, error: unknown) => never
}

const nowhere: Origin = { system: '', destination: '', partition: null, position: null, group: null }

/** Counts and times the deliveries of the pipelines that it is built into. */
export function recorderMiddleware(counted: Counted, { now, began }: MiddlewareOptions): Middleware {
  const middleware: Middleware = (next, place) => {
    const pipeline = place?.pipeline ?? ''
    began(pipeline)
    const ended = endings(counted, pipeline)
    if (place?.inside.some((stage) => stage.parking !== undefined) === true) parkings(counted, pipeline)
    const inFlight = counted.series('inFlight').of(pipeline)
    const durationFrom = durations(counted.distribution('duration'), pipeline)

    const free: Timing[] = []

    function end(timing: Timing): void {
      inFlight.value--
      durationFrom(timing.origin).observe((now() - timing.startedMs) / 1000)
      free.push(timing)
    }

    function make(): Timing {
      const timing: Timing = {
        origin: nowhere,
        startedMs: 0,
        succeeded(outcome) {
          end(timing)
          ended[outcome].value++
          return outcome
        },
        failed(error) {
          end(timing)
          ended.nacked.value++
          countNack(counted, pipeline, error)
          throw error
        },
      }
      return timing
    }

    return function metrics(delivery) {
      inFlight.value++
      const timing = free.pop() ?? make()
      timing.origin = delivery.origin
      timing.startedMs = now()
      return next(delivery).then(timing.succeeded, timing.failed)
    }
  }
  return staged(middleware, { name: 'metrics', excludes: { metrics: 'each message would count twice' } })
}

const countedByPipelineAlone = [
  'retries',
  'retriesRefused',
  'abandoned',
  'conflicts',
  'leaseRenewals',
  'leasesLost',
  'deadLetterFailures',
] as const

/** The series of how deliveries end, and all others of the pipeline: the rate of one that appears late misses its first. */
function endings({ series, distribution }: Counted, pipeline: string): Readonly<Record<Outcome | 'nacked', Series>> {
  for (const id of countedByPipelineAlone) series(id).of(pipeline)
  for (const holds of ['message', 'lane', 'pipeline', 'nothing']) series('nacks').of(pipeline, holds)
  distribution('retryDelay').of(pipeline)
  for (const reason of failureReasons) series('deadLetters').of(pipeline, reason)
  series('attempts').of(pipeline, 'failed')
  for (const suppressed of ['true', 'false']) series('duplicates').of(pipeline, suppressed)
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

function parkings({ series }: Counted, pipeline: string): void {
  for (const where of ['head', 'behind']) series('parked').of(pipeline, where)
  for (const full of ['lane', 'lanes']) series('parkingFull').of(pipeline, full)
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

function countNack({ series, distribution }: Counted, pipeline: string, error: unknown): void {
  if (!isRetryLater(error)) return void series('nacks').of(pipeline, 'nothing').value++
  series('nacks').of(pipeline, error.holds).value++
  if (error.holds === 'message')
    distribution('retryDelay')
      .of(pipeline)
      .observe(error.afterMs / 1000)
}
