import { ROOT_CONTEXT, SpanKind } from '@opentelemetry/api'
import { systemClock, type Clock } from '../core/clock.ts'
import { subscribe } from '../core/events.ts'
import { checkOptions, clockKind } from '../core/options.ts'
import { setError } from './process-span.ts'
import { propagationKinds, propagationOf, type PropagationOptions } from './propagation.ts'
import { attributes as names, operations, ours } from './semconv.ts'

export interface TracedSettlesOptions extends Pick<PropagationOptions, 'tracerProvider'> {
  readonly clock?: Clock
}

/**
 * Records a `settle` span for each commit of a consumer, until you call the returned function. A commit settles many
 * messages, so its span belongs to no message's trace. Use it to examine a slow broker, not permanently.
 */
export function tracedSettles(options: TracedSettlesOptions = {}): () => void {
  const { tracerProvider } = propagationKinds
  const { clock = systemClock, ...propagation } = checkOptions('tracedSettles', options, {
    tracerProvider,
    clock: clockKind,
  })
  const { tracer, idle } = propagationOf(propagation)
  return subscribe('committed', ({ system, destinations, partitions, tookMs, error }) => {
    if (idle()) return
    const endMs = clock.wall()
    const [only, ...others] = destinations
    const same = others.length === 0 && only !== undefined
    const span = tracer.startSpan(
      same ? `${operations.settle} ${only}` : operations.settle,
      {
        kind: SpanKind.CLIENT,
        startTime: endMs - tookMs,
        attributes: {
          [names.system]: system,
          [names.operationName]: operations.settle,
          [names.operationType]: operations.settle,
          [ours.partitions]: partitions,
          ...(same && { [names.destination]: only }),
        },
      },
      ROOT_CONTEXT,
    )
    if (error !== undefined) setError(span, error)
    span.end(endMs)
  })
}
