import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'

/** A span as it travels in OTLP's JSON, with the service that it came from. */
export interface ReceivedSpan {
  readonly service: string
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: number
  readonly attributes: Readonly<Record<string, unknown>>
  readonly links: readonly string[]
  readonly events: readonly string[]
}

interface Attribute {
  readonly key: string
  readonly value: Readonly<Record<string, unknown>>
}

interface WireSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: number
  readonly attributes?: readonly Attribute[]
  readonly links?: readonly { readonly spanId: string }[]
  readonly events?: readonly { readonly name: string }[]
}

export interface ResourceSpans {
  readonly resource: { readonly attributes: readonly Attribute[] }
  readonly scopeSpans: readonly { readonly spans: readonly WireSpan[] }[]
}

export interface OtlpReceiver {
  readonly url: string
  readonly spans: () => ReceivedSpan[]
  close(): Promise<void>
}

/** Takes spans as a collector does, and gives them back as Jaeger's query API does. */
export async function otlpReceiver(): Promise<OtlpReceiver> {
  const received: ResourceSpans[] = []
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'application/json')
    if (request.method === 'POST' && request.url === '/v1/traces') {
      void json(request).then((body) => {
        received.push(...(body as { readonly resourceSpans: readonly ResourceSpans[] }).resourceSpans)
        response.end('{}')
      })
    } else if (request.url?.startsWith('/api/v3/traces/') === true) {
      response.end(JSON.stringify({ result: { resourceSpans: received } }))
    } else response.writeHead(404).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    spans: () => received.flatMap(spansOf),
    close: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

export function spansOf({ resource, scopeSpans }: ResourceSpans): ReceivedSpan[] {
  const { 'service.name': service } = plain(resource.attributes)
  return scopeSpans
    .flatMap(({ spans }) => spans)
    .map(({ attributes, links = [], events = [], ...span }) => ({
      ...span,
      service: String(service),
      attributes: plain(attributes),
      links: links.map(({ spanId }) => spanId),
      events: events.map(({ name }) => name),
    }))
}

function plain(attributes: readonly Attribute[] = []): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, valueOf(value)]))
}

/** OTLP's JSON writes integers as text; Jaeger gives back what was an integer as either. */
function valueOf(value: Readonly<Record<string, unknown>>): unknown {
  const [[type, held] = []] = Object.entries(value)
  return type === 'intValue' ? Number(held) : held
}
