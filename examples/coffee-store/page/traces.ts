import { addressOf } from '../../services.ts'
import { startTelemetry } from '../../traces-in-jaeger/telemetry.ts'

export interface Traces {
  /** Where a person looks at them. */
  readonly jaeger: string
  stop(): Promise<void>
}

/** Spans go to Jaeger from now on. */
export async function startTraces(address: string | true): Promise<Traces> {
  const jaeger = address === true ? await addressOf('jaeger') : address
  // What `npm run services` starts takes spans two ports further on.
  const otlp = jaeger.replace(/\d+(?=\/?$)/, (port) => String(Number(port) + 2))
  process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] ??= otlp
  const telemetry = startTelemetry('coffee-store')
  return { jaeger: jaeger.replace(/\/$/, ''), stop: () => telemetry.stop() }
}
