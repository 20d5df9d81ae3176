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
  const endpoint = (process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] ??= otlp)
  await checkTakesTraces(endpoint, jaeger)
  const telemetry = startTelemetry('coffee-store')
  return { jaeger: jaeger.replace(/\/$/, ''), stop: () => telemetry.stop() }
}

/** Spans are sent behind the scenes: with a wrong address there would be no trace, and no word about it. */
async function checkTakesTraces(endpoint: string, jaeger: string): Promise<void> {
  const answer = await fetch(`${endpoint.replace(/\/$/, '')}/v1/traces`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"resourceSpans":[]}',
    signal: AbortSignal.timeout(5_000),
  }).catch(() => undefined)
  if (answer?.ok !== true)
    throw new Error(
      `nothing takes traces at ${endpoint}: --jaeger takes the address of Jaeger's page (got ${jaeger}), and OTEL_EXPORTER_OTLP_ENDPOINT that of its traces`,
    )
}
