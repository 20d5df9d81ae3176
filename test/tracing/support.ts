import { context, propagation, trace, type TextMapPropagator } from '@opentelemetry/api'
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  SimpleSpanProcessor,
  type ReadableSpan,
  type Sampler,
} from '@opentelemetry/sdk-trace-node'
import { afterEach, beforeEach } from 'vitest'

export interface RegisteredSdk {
  /** What ended so far, in that order. */
  spans(): ReadableSpan[]
  /** The only span of that name; throws where there are none or several. */
  span(name: string): ReadableSpan
  reset(): void
}

/** A real SDK for each test, registered as a service would, and gone after it. */
export function withSdk(options: { propagator?: TextMapPropagator; sampler?: Sampler } = {}): RegisteredSdk {
  const { propagator, sampler } = options
  const exporter = new InMemorySpanExporter()
  beforeEach(() => {
    exporter.reset()
    const provider = new NodeTracerProvider({
      spanProcessors: [new SimpleSpanProcessor(exporter)],
      ...(sampler && { sampler }),
    })
    provider.register(propagator && { propagator })
  })
  afterEach(() => {
    trace.disable()
    context.disable()
    propagation.disable()
  })
  const spans = (): ReadableSpan[] => exporter.getFinishedSpans()
  return {
    spans,
    span(name) {
      const found = spans().filter((span) => span.name === name)
      const [only] = found
      if (only === undefined || found.length > 1)
        throw new Error(
          `${found.length} spans '${name}' among: ${spans()
            .map((span) => span.name)
            .join(', ')}`,
        )
      return only
    },
    reset: () => exporter.reset(),
  }
}

export const remoteTrace = '0af7651916cd43dd8448eb211c80319c'
export const remoteSpan = 'b7ad6b7169203331'
export const traceparent = `00-${remoteTrace}-${remoteSpan}-01`

export const parentOf = (span: ReadableSpan): string | undefined => span.parentSpanContext?.spanId
export const linksOf = (span: ReadableSpan): string[] => span.links.map(({ context }) => context.spanId)
