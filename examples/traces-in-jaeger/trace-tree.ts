import { setTimeout as sleep } from 'node:timers/promises'

interface Attribute {
  readonly key: string
  readonly value: Readonly<Record<string, unknown>>
}

interface Span {
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly startTimeUnixNano: string
  readonly attributes?: readonly Attribute[]
  readonly events?: readonly { readonly name: string }[]
}

interface ResourceSpans {
  readonly resource: { readonly attributes: readonly Attribute[] }
  readonly scopeSpans: readonly { readonly spans: readonly Span[] }[]
}

interface ServiceSpan extends Span {
  readonly service: string
}

/** Asks Jaeger until the trace has as many spans as there should be. */
export async function readTrace(jaegerUrl: string, traceId: string, spans: number): Promise<readonly ServiceSpan[]> {
  for (let tries = 0; tries < 100; tries++) {
    const response = await fetch(new URL(`/api/v3/traces/${traceId}`, jaegerUrl))
    if (response.ok) {
      const { result } = (await response.json()) as { readonly result: { readonly resourceSpans: ResourceSpans[] } }
      const found = result.resourceSpans.flatMap(spansOf)
      if (found.length >= spans) return found
    }
    await sleep(100)
  }
  throw new Error(`Jaeger at ${jaegerUrl} does not have the ${spans} spans of the trace ${traceId}`)
}

function spansOf({ resource, scopeSpans }: ResourceSpans): ServiceSpan[] {
  const service = textOf(resource.attributes, 'service.name') ?? '?'
  return scopeSpans.flatMap(({ spans }) => spans).map((span) => ({ ...span, service }))
}

function textOf(attributes: readonly Attribute[] = [], key: string): string | undefined {
  const found = attributes.find((attribute) => attribute.key === key)
  return found === undefined ? undefined : String(Object.values(found.value)[0])
}

const shown = ['holdfast.outcome', 'holdfast.attempt', 'messaging.message.id']

/** The trace as text: each span under its parent, with what happened on it. */
export function treeOf(spans: readonly ServiceSpan[]): string {
  const childrenOf = (parent: string): ServiceSpan[] => spans.filter(({ parentSpanId = '' }) => parentSpanId === parent)

  // Spans of one instant are in the order of what came of them.
  function lastStart(span: ServiceSpan): number {
    return Math.max(Number(span.startTimeUnixNano), ...childrenOf(span.spanId).map(lastStart))
  }

  function branch(parent: string, depth: number): string[] {
    return childrenOf(parent)
      .sort((a, b) => lastStart(a) - lastStart(b))
      .flatMap((span) => [lineOf(span, depth), ...branch(span.spanId, depth + 1)])
  }

  return branch('', 0).join('\n')
}

function lineOf({ service, name, attributes, events = [] }: ServiceSpan, depth: number): string {
  const values = shown.flatMap((key) => {
    const value = textOf(attributes, key)
    return value === undefined ? [] : [`${key.split('.').at(-1)}=${value}`]
  })
  return [`${'  '.repeat(depth)}${service}: ${name}`, ...values, ...events.map((event) => `[${event.name}]`)].join('  ')
}
