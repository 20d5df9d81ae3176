import { createRequire, registerHooks } from 'node:module'
import { pathToFileURL } from 'node:url'

// With `--one-api` our source shares the SDK's copy of the API; without it, each has its own, as npm may leave it.
const theirs = pathToFileURL(createRequire(import.meta.url).resolve('@opentelemetry/api')).href
if (process.argv.includes('--one-api'))
  registerHooks({
    resolve: (name, from, next) =>
      name === '@opentelemetry/api' ? { url: theirs, shortCircuit: true, format: 'commonjs' } : next(name, from),
  })

const { context, metrics, propagation, trace } = await import('@opentelemetry/api')
const { AsyncLocalStorageContextManager } = await import('@opentelemetry/context-async-hooks')
const { W3CTraceContextPropagator } = await import('@opentelemetry/core')
const { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } = await import('@opentelemetry/sdk-trace')
const sdkMetrics = await import('@opentelemetry/sdk-metrics')
const { headerText, outgoing, pipeline, publisher, retry } = await import('holdfast')
const { otelMetrics, tracedPublish, tracing } = await import('holdfast/tracing')

const exporter = new InMemorySpanExporter()
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
propagation.setGlobalPropagator(new W3CTraceContextPropagator())
trace.setGlobalTracerProvider(new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] }))
const measured = new sdkMetrics.InMemoryMetricExporter(sdkMetrics.AggregationTemporality.CUMULATIVE)
const reader = new sdkMetrics.PeriodicExportingMetricReader({ exporter: measured, exportIntervalMillis: 3_600_000 })
const meterProvider = new sdkMetrics.MeterProvider({ readers: [reader] })
metrics.setGlobalMeterProvider(meterProvider)

let sent
const target = publisher({
  publish: async ([message]) => {
    sent = message
    trace.getTracer('client').startSpan('to be silent').end()
  },
}).use(tracedPublish())
await target.publish([outgoing({ id: 'm-1', destination: 'orders', body: Buffer.from('x') })])

const handled = pipeline('billing')
  .use(tracing())
  .use(otelMetrics())
  .use(retry({ backoff: () => 1 }))
  .handle(async ({ attempt }) => {
    trace.getTracer('handler').startSpan(`query ${attempt}`).end()
    if (attempt === 1) throw new Error('once')
  })
const outcome = await handled.dispatch({
  message: sent,
  origin: { system: 'kafka', destination: 'orders', partition: '0', position: '7', group: 'g' },
})

await meterProvider.forceFlush()
const points = measured.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((scope) => scope.metrics))
console.log(
  JSON.stringify({
    outcome,
    traceparent: headerText(sent.headers, 'traceparent'),
    spans: exporter.getFinishedSpans().map((span) => ({
      name: span.name,
      traceId: span.spanContext().traceId,
      spanId: span.spanContext().spanId,
      parent: span.parentSpanContext?.spanId ?? null,
      events: span.events.map(({ name }) => name),
    })),
    instruments: points.map(({ descriptor }) => descriptor.name),
  }),
)
