import {
  context,
  SpanKind,
  trace,
  type Attributes,
  type Context,
  type Link,
  type Span,
  type Tracer,
} from '@opentelemetry/api'
import { systemClock, type Clock } from '../core/clock.ts'
import { checkOptions, clockKind, text } from '../core/options.ts'
import type { Outgoing, Publish } from '../core/publisher.ts'
import { setError } from './process-span.ts'
import { ambient, propagationKinds, propagationOf, suppress, type PropagationOptions } from './propagation.ts'
import { attributes as names, operations, ours } from './semconv.ts'

export interface TracedPublishOptions extends PropagationOptions {
  /** The `messaging.system` of these spans. @defaultValue `'kafka'` */
  readonly system?: string
  readonly clock?: Clock
}

/**
 * Opens a `send` span around each call, and gives every message a trace context for its consumers.
 * A message that already has a context keeps it byte for byte, and the span links to it.
 */
export function tracedPublish(options: TracedPublishOptions = {}): <Body>(next: Publish<Body>) => Publish<Body> {
  const {
    system = 'kafka',
    clock = systemClock,
    ...propagation
  } = checkOptions('tracedPublish', options, { ...propagationKinds, system: text, clock: clockKind })
  const { tracer, idle, extract, inject } = propagationOf(propagation)

  return <Body>(next: Publish<Body>): Publish<Body> =>
    async function tracedPublish(messages, publishOptions) {
      const first = messages[0]
      if (first === undefined || idle()) return next(messages, publishOptions)
      const here = ambient()
      const stored = messages.map(({ headers }) => trace.getSpanContext(extract(headers)))
      // One message without a context needs no span of its own: its context is that of the sending.
      const alone = messages.length === 1 && stored[0] === undefined
      const links: Link[] = []
      const sent: Outgoing<Body>[] = []
      messages.forEach((message, at) => {
        let known = stored[at]
        let out = message
        if (known === undefined && !alone) {
          const span = startCreate(tracer, system, message, here)
          known = span.spanContext()
          out = { ...message, headers: inject(trace.setSpan(here, span), message.headers) }
          span.end()
        }
        if (known !== undefined) links.push({ context: known, attributes: linkAttributes(message, clock.wall()) })
        sent.push(out)
      })
      const same = messages.every(({ destination }) => destination === first.destination)
      const span = tracer.startSpan(
        same ? `${operations.send} ${first.destination}` : operations.send,
        {
          kind: alone ? SpanKind.PRODUCER : SpanKind.CLIENT,
          links,
          attributes: {
            [names.system]: system,
            [names.operationName]: operations.send,
            [names.operationType]: operations.send,
            ...(same && { [names.destination]: first.destination }),
            ...(messages.length === 1 ? { [names.messageId]: first.id } : { [names.batchSize]: messages.length }),
            ...(links.length === 1 && { [ours.dwellMs]: dwellMs(first, clock.wall()) }),
          },
        },
        trace.getSpan(here) === undefined ? oneTrace(here, links) : here,
      )
      const inside = trace.setSpan(here, span)
      const out = alone ? [{ ...first, headers: inject(inside, first.headers) }] : sent
      try {
        // Instrumentation of the client would open a second span and overwrite the context in the headers.
        await context.with(suppress(inside), next, undefined, out, publishOptions)
      } catch (error) {
        setError(span, error)
        throw error
      } finally {
        span.end()
      }
    }
}

/**
 * Opens a `create` span for each message and stores its context in the headers. Use it with an outbox, whose relay sends later:
 * `postgresOutbox({ through: tracedCreate() })`.
 */
export function tracedCreate(
  options: Omit<TracedPublishOptions, 'clock'> = {},
): <Body>(next: Publish<Body>) => Publish<Body> {
  const { system = 'kafka', ...propagation } = checkOptions('tracedCreate', options, {
    ...propagationKinds,
    system: text,
  })
  const { tracer, idle, inject } = propagationOf(propagation)
  return <Body>(next: Publish<Body>): Publish<Body> =>
    async function tracedCreate(messages, publishOptions) {
      if (idle()) return next(messages, publishOptions)
      const here = ambient()
      const spans: Span[] = []
      const created = messages.map((message) => {
        const span = startCreate(tracer, system, message, here)
        spans.push(span)
        return { ...message, headers: inject(trace.setSpan(here, span), message.headers) }
      })
      const inside = spans.length === 1 && spans[0] !== undefined ? trace.setSpan(here, spans[0]) : here
      try {
        await context.with(inside, next, undefined, created, publishOptions)
      } catch (error) {
        for (const span of spans) setError(span, error)
        throw error
      } finally {
        for (const span of spans) span.end()
      }
    }
}

function startCreate(tracer: Tracer, system: string, { id, destination }: Outgoing<unknown>, parent: Context): Span {
  const attributes: Attributes = {
    [names.system]: system,
    [names.operationName]: operations.create,
    [names.operationType]: operations.create,
    [names.destination]: destination,
    [names.messageId]: id,
  }
  return tracer.startSpan(`${operations.create} ${destination}`, { kind: SpanKind.PRODUCER, attributes }, parent)
}

function linkAttributes(message: Outgoing<unknown>, wallMs: number): Attributes {
  return { [names.messageId]: message.id, [ours.dwellMs]: dwellMs(message, wallMs) }
}

/** For what comes from an outbox: how long it lay there. */
function dwellMs({ timeMs }: Outgoing<unknown>, wallMs: number): number {
  return Math.round(Math.max(0, wallMs - timeMs))
}

/** A background loop has no trace of its own: what belongs to one trace alone is sent in that one. */
function oneTrace(here: Context, links: readonly Link[]): Context {
  const first = links[0]?.context
  if (first === undefined || links.some(({ context }) => context.traceId !== first.traceId)) return here
  return trace.setSpanContext(here, first)
}
