import { TraceFlags, type Span, type SpanContext } from '@opentelemetry/api'
import type { Delivery, Origin } from '../core/delivery.ts'
import { subscribe } from '../core/events.ts'
import { tracedOf } from './process-span.ts'
import { attributes as names, ourOperations, ours } from './semconv.ts'

/** What travels with a parked message: the span that parked it. */
const carriedName = 'traceparent'

const open = new WeakMap<Origin, Span>()
let watching = false

/** A `park` span for each message that is parked, in the trace of its delivery. Once per process. */
export function watchParking(): void {
  if (watching) return
  watching = true
  subscribe('parking', ({ delivery, carried }) => {
    const traced = tracedOf(delivery)
    if (traced === undefined) return
    const { destination } = delivery.origin
    const attributes = {
      [names.operationName]: ourOperations.park,
      [names.destination]: destination,
      [names.messageId]: delivery.message.id,
      [ours.pipeline]: delivery.pipeline,
    }
    const span = traced.tracer.startSpan(`${ourOperations.park} ${destination}`, { attributes }, traced.inside)
    carried[carriedName] = written(span.spanContext())
    open.set(delivery.origin, span)
  })
  subscribe('parked', ({ delivery, afterMs }) =>
    end(delivery, { [ours.place]: 'head', ...(afterMs !== null && { [ours.parkAfterMs]: afterMs }) }),
  )
  subscribe('appended', ({ delivery }) => end(delivery, { [ours.place]: 'behind' }))
  subscribe('parking-full', ({ delivery }) => end(delivery, {}))
}

/** The span that parked the message, for a link from the run that follows. */
export function parkedBy({ parked }: Delivery): SpanContext | undefined {
  const found = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/.exec(parked?.carried[carriedName] ?? '')
  if (found === null) return undefined
  const [, traceId = '', spanId = '', flags = '00'] = found
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & TraceFlags.SAMPLED, isRemote: true }
}

function end({ origin }: Delivery, attributes: Record<string, string | number>): void {
  const span = open.get(origin)
  if (span === undefined) return
  open.delete(origin)
  span.setAttributes(attributes)
  span.end()
}

function written({ traceId, spanId, traceFlags }: SpanContext): string {
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`
}
