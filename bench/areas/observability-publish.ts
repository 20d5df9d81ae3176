import {
  context,
  createContextKey,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  type Attributes,
  type Link,
  type Span,
  type TextMapGetter,
} from '@opentelemetry/api'
import { headersFrom, headerText, type Bytes, type Headers, type Outgoing, type Publisher } from 'holdfast'

type Publish = Publisher['publish']

/** Confirms at once. */
export const unsent: Publish = async () => {}

const headers = headersFrom([['content-type', 'application/json']])
const body = Buffer.from('{"orderId":"1","cents":450}')

function message(n: number, more: Readonly<Record<string, string>> = {}): Outgoing {
  const all = headersFrom([...Object.entries(headers as Record<string, string>), ...Object.entries(more)])
  return { id: `m${n}`, type: 'bench', key: null, headers: all, body, timeMs: Date.now(), destination: 'bench' }
}

/** A call with one message that carries no context yet. */
export function oneMessage(publish: Publish): () => Promise<void> {
  const messages = [message(0)]
  return () => publish(messages)
}

/** A call with what a relay reads: so many messages, each with the context of its own trace. */
export function page(size: number, publish: Publish): () => Promise<void> {
  const messages = Array.from({ length: size }, (_, n) =>
    message(n, { traceparent: `00-${String(n + 1).padStart(32, '0')}-b7ad6b7169203331-01` }),
  )
  return () => publish(messages)
}

/** The `create` span of each message, its context in the headers. */
export function createdByHand(): Publish {
  const tracer = trace.getTracer('bench')
  return async function create(messages, options) {
    const here = context.active()
    const spans: Span[] = []
    const created = messages.map((each) => {
      const attributes = { ...attributesOf('create', each), 'messaging.message.id': each.id }
      const span = tracer.startSpan(`create ${each.destination}`, { kind: SpanKind.PRODUCER, attributes }, here)
      spans.push(span)
      return withContext(each, span)
    })
    await ended(spans, () => unsent(created, options))
  }
}

/** One `send` span that links to each message with a context; a message alone without one is given that of the span. */
export function sentByHand(): Publish {
  const tracer = trace.getTracer('bench')
  const suppressed = createContextKey('OpenTelemetry SDK Context Key SUPPRESS_TRACING')
  const getter: TextMapGetter<Headers> = { keys: Object.keys, get: headerText }
  return async function send(messages, options) {
    const here = context.active()
    const [first] = messages
    if (first === undefined) return
    const links: Link[] = []
    for (const each of messages) {
      const creation = trace.getSpanContext(propagation.extract(ROOT_CONTEXT, each.headers, getter))
      const attributes = { 'messaging.message.id': each.id, 'holdfast.dwell_ms': Date.now() - each.timeMs }
      if (creation !== undefined) links.push({ context: creation, attributes })
    }
    const kind = links.length === 0 ? SpanKind.PRODUCER : SpanKind.CLIENT
    const attributes = {
      ...attributesOf('send', first),
      ...(messages.length === 1
        ? { 'messaging.message.id': first.id }
        : { 'messaging.batch.message_count': messages.length }),
    }
    const span = tracer.startSpan(`send ${first.destination}`, { kind, links, attributes }, here)
    const sent = links.length === 0 ? [withContext(first, span)] : messages
    const inside = trace.setSpan(here, span).setValue(suppressed, true)
    await ended([span], () => context.with(inside, unsent, undefined, sent, options))
  }
}

function attributesOf(operation: string, { destination }: Outgoing): Attributes {
  return {
    'messaging.system': 'kafka',
    'messaging.operation.name': operation,
    'messaging.operation.type': operation,
    'messaging.destination.name': destination,
  }
}

function withContext(sent: Outgoing<Bytes>, span: Span): Outgoing {
  const carrier: Record<string, string> = {}
  propagation.inject(trace.setSpan(context.active(), span), carrier)
  return { ...sent, headers: Object.assign(Object.create(null) as object, sent.headers, carrier) }
}

async function ended(spans: readonly Span[], work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    for (const span of spans) span.setStatus({ code: SpanStatusCode.ERROR })
    throw error
  } finally {
    for (const span of spans) span.end()
  }
}
