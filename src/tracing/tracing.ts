import { context, ROOT_CONTEXT, SpanKind, trace } from '@opentelemetry/api'
import type { BatchHandler } from '../core/batch.ts'
import { systemClock, type Clock } from '../core/clock.ts'
import { staged, type Delivery, type Middleware, type Outcome } from '../core/delivery.ts'
import { callback, checkArgument, checkOptions, clockKind, flag } from '../core/options.ts'
import {
  deliveryAttributes,
  handedBack,
  isProcessSpanOf,
  setError,
  succeeded,
  remember,
  tracedOf,
  type Traced,
} from './process-span.ts'
import { parkedBy, watchParking } from './parking-spans.ts'
import { ambient, propagationKinds, propagationOf, type PropagationOptions } from './propagation.ts'
import { attributes as names, operations } from './semconv.ts'
import { watchEvents } from './span-events.ts'

export interface TracingOptions extends PropagationOptions {
  /** Set it to `false` for untrusted senders: spans then link to their trace and do not continue it. @defaultValue `true` */
  readonly trusted?: boolean
  readonly clock?: Clock
}

/**
 * Opens a `process` span around each delivery, in the trace of the message's producer.
 * Failed attempts, duplicates and dead letters are events on it. Without an OpenTelemetry SDK it does nothing.
 */
export function tracing(options: TracingOptions = {}): Middleware {
  const {
    trusted = true,
    clock = systemClock,
    ...propagation
  } = checkOptions('tracing', options, { ...propagationKinds, trusted: flag, clock: clockKind })
  const { tracer, idle, extract } = propagationOf(propagation)
  watchEvents()
  watchParking()

  function start(delivery: Delivery): Traced {
    const { message, origin, attempt } = delivery
    const attributes = deliveryAttributes(delivery, clock.wall())
    const active = trace.getActiveSpan()
    if (active !== undefined && isProcessSpanOf(active, origin)) {
      active.setAttributes(attributes)
      return {
        span: active,
        tracer,
        adopted: true,
        inside: context.active(),
        messageId: message.id,
        attempt,
        waitedMs: 0,
      }
    }
    const remote = extract(message.headers)
    const creation = trace.getSpanContext(remote)
    // A caller without a transport, such as a web hook, stands between the message's maker and us.
    const caller = origin.system === 'direct' ? ambient() : ROOT_CONTEXT
    const parent = trace.getSpan(caller) !== undefined ? caller : trusted ? remote : trace.deleteSpan(remote)
    const links = [creation, parkedBy(delivery)].flatMap((each) => (each === undefined ? [] : [{ context: each }]))
    const name = `${operations.process} ${origin.destination}`
    const span = tracer.startSpan(name, { kind: SpanKind.CONSUMER, attributes, links }, parent)
    return {
      span,
      tracer,
      adopted: false,
      inside: trace.setSpan(parent, span),
      messageId: message.id,
      attempt,
      waitedMs: 0,
    }
  }

  const middleware: Middleware = (next) =>
    function tracing(delivery) {
      if (idle()) return next(delivery)
      const traced = start(delivery)
      remember(delivery, traced)
      return context.with(traced.inside, next, undefined, delivery).then(
        (outcome) => {
          succeeded(traced, outcome)
          return outcome
        },
        (error: unknown): Outcome => {
          handedBack(traced, error, delivery.signal.aborted)
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
 * Opens one `process` span around each call of a batch handler, with a link to the span of each message.
 * Use it inside `tracing()`: otherwise there are no spans to link to.
 */
export function tracedBatch<D extends Delivery>(
  handler: BatchHandler<D>,
  options: PropagationOptions = {},
): BatchHandler<D> {
  checkArgument('tracedBatch', 'handler', handler, callback)
  const { tracer, idle } = propagationOf(checkOptions('tracedBatch', options, propagationKinds))
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
      .map(tracedOf)
      .filter((traced) => traced !== undefined)
      .map(({ span, messageId }) => ({ context: span.spanContext(), attributes: { [names.messageId]: messageId } }))
    const name = same ? `${operations.process} ${destination}` : operations.process
    // The context here is that of the message that filled the batch: a batch has links and no parent.
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
