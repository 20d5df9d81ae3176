import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { defaultResource, resourceFromAttributes } from '@opentelemetry/resources'
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node'

/** What every service does once, before anything else: spans go to OTEL_EXPORTER_OTLP_ENDPOINT. */
export function startTelemetry(service: string): { stop(): Promise<void> } {
  const provider = new NodeTracerProvider({
    resource: defaultResource().merge(resourceFromAttributes({ 'service.name': service })),
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter(), { scheduledDelayMillis: 500 })],
  })
  provider.register()
  return { stop: () => provider.shutdown() }
}
