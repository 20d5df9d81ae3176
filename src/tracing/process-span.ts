import { SpanStatusCode, type Attributes, type Context, type Span, type Tracer } from '@opentelemetry/api'
import type { Delivery, Origin, Outcome } from '../core/delivery.ts'
import { isHoldfastError, isRetryLater, textOf } from '../core/errors.ts'
import { attributes as names, operations, ours } from './semconv.ts'

/** What is known of a delivery while it runs; the events on its span add to it. */
export interface Traced {
  readonly span: Span
  readonly tracer: Tracer
  /** Opened and to be ended by another instrumentation. */
  readonly adopted: boolean
  readonly inside: Context
  readonly messageId: string
  attempt: number
  waitedMs: number
}

// By the origin, which is made for each delivery and stays the same object while a delivery is widened and decoded.
const running = new WeakMap<Origin, Traced>()

export function remember({ origin }: Delivery, traced: Traced): void {
  if (traced.span.isRecording()) running.set(origin, traced)
}

export function tracedOf({ message, origin }: Delivery): Traced | undefined {
  const traced = running.get(origin)
  return traced?.messageId === message.id ? traced : undefined
}

/** What a sampler and a reader want to know from the start. */
export function deliveryAttributes(
  { message, bytes, origin, pipeline, attempt, parked }: Delivery,
  wallMs: number,
): Attributes {
  const attributes: Attributes = {
    [names.system]: origin.system,
    [names.operationName]: operations.process,
    [names.operationType]: operations.process,
    [names.destination]: origin.destination,
    [names.messageId]: message.id,
    [ours.pipeline]: pipeline,
    [ours.attempt]: attempt,
    [ours.dwellMs]: Math.round(Math.max(0, wallMs - message.timeMs)),
  }
  if (parked !== undefined) attributes[ours.parkedMs] = Math.round(parked.ageMs)
  if (origin.partition !== null) attributes[names.partition] = origin.partition
  if (origin.group !== null) attributes[names.group] = origin.group
  if (bytes !== null) attributes[names.bodySize] = bytes.byteLength
  if (origin.system === 'kafka') {
    if (origin.position !== null) attributes[names.kafkaOffset] = Number(origin.position)
    if (bytes === null) attributes[names.kafkaTombstone] = true
  }
  if (origin.system === 'rabbitmq') Object.assign(attributes, rabbitmqAttributes(origin))
  return attributes
}

/** A destination is an exchange, a routing key and a queue: those that have a name, and each name once. */
function rabbitmqAttributes({ destination, routingKey = '', partition, position }: Origin): Attributes {
  const parts = [destination, routingKey, partition ?? ''].filter((part) => part !== '')
  return {
    [names.destination]: [...new Set(parts)].join(':'),
    ...(routingKey !== '' && { [names.rabbitmqRoutingKey]: routingKey }),
    ...(position !== null && { [names.rabbitmqDeliveryTag]: Number(position) }),
  }
}

/** Whether another instrumentation opened the `process` span of this very message. Spans of the SDK show their attributes. */
export function isProcessSpanOf(span: Span, { destination, partition, position }: Origin): boolean {
  if (!('attributes' in span) || typeof span.attributes !== 'object' || span.attributes === null) return false
  const known = span.attributes
  const valueOf = (name: string): unknown => Reflect.get(known, name)
  const fits = (name: string, value: string | null): boolean => {
    const found = valueOf(name)
    return found === undefined || (typeof found === 'number' ? String(found) : found) === value
  }
  return (
    valueOf(names.operationType) === operations.process &&
    valueOf(names.destination) === destination &&
    fits(names.partition, partition) &&
    fits(names.kafkaOffset, position) &&
    // With this it is one of ours, of a delivery that this one is dispatched from.
    valueOf(ours.pipeline) === undefined
  )
}

export function succeeded(traced: Traced, outcome: Outcome): void {
  if (traced.span.isRecording()) setEnding(traced, outcome)
  if (!traced.adopted) traced.span.end()
}

/** A message that was stopped is no error. One that has to wait is an error only if something failed and made it wait. */
export function handedBack(traced: Traced, error: unknown, stopped: boolean): void {
  const { span, adopted } = traced
  if (span.isRecording()) {
    setEnding(traced, 'nacked')
    if (isRetryLater(error)) {
      span.setAttribute(ours.retryAfterMs, error.afterMs)
      span.setAttribute(ours.holds, error.holds)
      if (error.cause !== undefined && !stopped) setError(span, error.cause)
    } else setError(span, error)
  }
  if (!adopted) span.end()
}

function setEnding({ span, attempt, waitedMs }: Traced, outcome: string): void {
  span.setAttribute(ours.outcome, outcome)
  if (waitedMs > 0) span.setAttribute(ours.retryWaitMs, waitedMs)
  if (attempt > 1) span.setAttribute(ours.attempt, attempt)
}

export function setError(span: Span, error: unknown): void {
  span.setAttribute(names.errorType, errorType(error))
  span.setStatus({ code: SpanStatusCode.ERROR, message: errorText(error) })
}

/** Low in cardinality, as the conventions want it: our code, else the class. */
export function errorType(error: unknown): string {
  return isHoldfastError(error) ? error.code : textOf(error).errorName
}

const longestText = 256

/** What was thrown may be no error, or unreadable. */
export function errorText(error: unknown): string {
  return textOf(error).errorMessage.slice(0, longestText)
}
