import { context, ROOT_CONTEXT, SpanKind, trace, type Context } from '@opentelemetry/api'
import type { BatchHandler } from '../batch.ts'
import { systemClock, type Clock } from '../clock.ts'
import { staged, type Delivery, type Middleware, type Outcome } from '../delivery.ts'
import type { Headers } from '../message.ts'
import { badOption } from '../options.ts'
import { deliveryAttributes, handedBack, isProcessSpanOf, setError, succeeded, type Traced } from './process-span.ts'
import { ambient, propagationOf, type PropagationOptions } from './propagation.ts'
import { attributes as names, operations } from './semconv.ts'
import { watchEvents, withTraced } from './span-events.ts'

export interface TracingOptions extends PropagationOptions {
  /** `false` for senders that are not trusted: their trace is linked to, not continued. @defaultValue `true` */
  readonly trusted?: boolean
  readonly clock?: Clock
}

// By the headers, which stay the same object while a delivery is widened and its body decoded.
const running = new WeakMap<Headers, Traced>()

/**
 * Opens a `process` span around each delivery, in the trace of whoever made the message.
 * Failed attempts, duplicates and dead letters stand on it as events. Without an SDK it does nothing.
 */
export function tracing({ trusted = true, clock = systemClock, ...options }: TracingOptions = {}): Middleware {
  if (typeof trusted !== 'boolean') throw badOption('tracing', 'trusted', 'true or false', trusted)
  const { tracer, idle, extract } = propagationOf('tracing', options)
  watchEvents()

  /** Opens a span, or adopts the one that another instrumentation opened for this very message. */
  function start(delivery: Delivery): { readonly adopted: boolean; readonly inside: Context; readonly traced: Traced } {
    const { message, origin, attempt } = delivery
    const attributes = deliveryAttributes(delivery, clock.wall())
    const active = trace.getActiveSpan()
    const adopted = active !== undefined && isProcessSpanOf(active, origin)
    let parent = ambient()
    let span = active
    if (!adopted || span === undefined) {
      const remote = extract(message.headers)
      const creation = trace.getSpanContext(remote)
      // A caller without a transport, such as a web hook, stands between the message's maker and us.
      const called = origin.system === 'direct' && trace.getSpan(parent) !== undefined
      if (!called) parent = trusted ? remote : trace.deleteSpan(remote)
      const links = creation === undefined ? [] : [{ context: creation }]
      const name = `${operations.process} ${origin.destination}`
      span = tracer.startSpan(name, { kind: SpanKind.CONSUMER, attributes, links }, parent)
    } else span.setAttributes(attributes)
    const traced: Traced = { span, messageId: message.id, attempt, waitedMs: 0 }
    if (span.isRecording()) running.set(message.headers, traced)
    return { adopted, inside: withTraced(trace.setSpan(parent, span), traced), traced }
  }

  const middleware: Middleware = (next) =>
    function tracing(delivery) {
      if (idle()) return next(delivery)
      const { adopted, inside, traced } = start(delivery)
      return context.with(inside, next, undefined, delivery).then(
        (outcome) => {
          succeeded(traced, outcome)
          if (!adopted) traced.span.end()
          return outcome
        },
        (error: unknown): Outcome => {
          handedBack(traced, error)
          if (!adopted) traced.span.end()
          throw error
        },
      )
    }
  return staged(middleware, {
    name: 'tracing',
    excludes: { tracing: 'each message would have two process spans' },
  })
}

/**
 * Opens one `process` span around each call of a batch's handler, with a link to the span of each message in it.
 * Inside `tracing()`; without it there is nothing to link to.
 */
export function tracedBatch<D extends Delivery>(
  handler: BatchHandler<D>,
  options: PropagationOptions = {},
): BatchHandler<D> {
  const { tracer, idle } = propagationOf('tracedBatch', options)
  return async function tracedBatch(deliveries) {
    const first = deliveries[0]
    if (first === undefined || idle()) return handler(deliveries)
    const { system, destination } = first.origin
    const same = deliveries.every(({ origin }) => origin.destination === destination)
    const attributes = {
      [names.system]: system,
      [names.operationName]: operations.process,
      [names.operationType]: operations.process,
      [names.batchSize]: deliveries.length,
      ...(same && { [names.destination]: destination }),
    }
    const links = deliveries
      .map(({ message }) => running.get(message.headers))
      .filter((traced) => traced !== undefined)
      .map(({ span, messageId }) => ({ context: span.spanContext(), attributes: { [names.messageId]: messageId } }))
    const name = same ? `${operations.process} ${destination}` : operations.process
    // The context here is that of whichever message filled the batch: a batch has links and no parent.
    const span = tracer.startSpan(name, { kind: SpanKind.CONSUMER, attributes, links }, ROOT_CONTEXT)
    try {
      const failures = await context.with(trace.setSpan(ROOT_CONTEXT, span), handler, undefined, deliveries)
      if (failures !== undefined && failures[0] !== undefined) setError(span, failures[0].error)
      return failures
    } catch (error) {
      setError(span, error)
      throw error
    } finally {
      span.end()
    }
  }
}
