import { expect, it } from 'vitest'
import { runExample } from '../examples/run.ts'
import { describeWith, jaegerUrl, kafkaBrokers, postgresUrl, serviceAddress, uniqueName } from '../support/services.ts'
import { describeFull } from '../support/skipped.ts'
import { otlpReceiver, spansOf, type ReceivedSpan, type ResourceSpans } from './otlp-receiver.ts'

const CLIENT = 3
const CONSUMER = 5
const PRODUCER = 4
const SERVER = 2

async function runTraced(env: Readonly<Record<string, string>>) {
  const topic = uniqueName('orders.placed')
  const ended = await runExample('examples/traces-in-jaeger/main.ts', [], {
    EXAMPLE_TOPIC: topic,
    HOLDFAST_KAFKA_BROKERS: kafkaBrokers().join(','),
    HOLDFAST_POSTGRES_URL: postgresUrl(),
    ...env,
  })
  expect(ended.stderr).toBe('')
  expect(ended.code).toBe(0)
  const traceId = /trace\/([0-9a-f]{32})/.exec(ended.stdout)?.[1] ?? 'none'
  return { traceId, topic, stdout: ended.stdout.replaceAll(topic, 'orders.placed').split('\n').slice(0, -2).join('\n') }
}

const printed = `\
billing: handled, duplicate, dead-lettered

orders: POST /orders
  orders: create orders.placed  id=latte
    orders: send orders.placed
    billing: process orders.placed  outcome=handled  attempt=2  id=latte  [attempt failed]
  orders: create orders.placed  id=latte
    billing: process orders.placed  outcome=duplicate  attempt=1  id=latte  [duplicate]
  orders: create orders.placed  id=mocha
    billing: process orders.placed  outcome=dead-lettered  attempt=1  id=mocha  [attempt failed]  [dead-lettered]
      billing: send orders.placed.dead-letters  id=mocha
`

/** One trace over both services, with the right parents, links and attributes. */
function expectOneTrace(all: readonly ReceivedSpan[], traceId: string, topic: string): void {
  const named = (name: string) => all.filter((span) => span.name === name)
  expect(all).toHaveLength(9)
  expect(new Set(all.map((span) => span.traceId))).toEqual(new Set([traceId]))

  const [server] = named('POST /orders')
  const creates = named(`create ${topic}`)
  expect(server).toMatchObject({ kind: SERVER, service: 'orders' })
  expect(creates).toHaveLength(3)
  for (const span of creates) expect(span).toMatchObject({ kind: PRODUCER, parentSpanId: server?.spanId, links: [] })

  const [send] = named(`send ${topic}`)
  expect(send).toMatchObject({ kind: CLIENT, service: 'orders', attributes: { 'messaging.batch.message_count': 3 } })
  expect(send?.links.toSorted()).toEqual(creates.map(({ spanId }) => spanId).toSorted())

  const processed = named(`process ${topic}`)
  for (const span of processed) {
    expect(span).toMatchObject({
      kind: CONSUMER,
      service: 'billing',
      links: [span.parentSpanId],
      attributes: {
        'messaging.system': 'kafka',
        'messaging.operation.type': 'process',
        'messaging.operation.name': 'process',
        'messaging.destination.name': topic,
        'messaging.consumer.group.name': `${topic}.billing`,
        'holdfast.pipeline': 'billing',
      },
    })
    expect(span.attributes['holdfast.dwell_ms']).toBeGreaterThan(0)
  }
  expect(processed.map(({ parentSpanId }) => parentSpanId).toSorted()).toEqual(send?.links.toSorted())
  const byOutcome = new Map(processed.map((span) => [span.attributes['holdfast.outcome'], span]))
  expect([...byOutcome.keys()].toSorted()).toEqual(['dead-lettered', 'duplicate', 'handled'])
  expect(byOutcome.get('handled')).toMatchObject({ attributes: { 'holdfast.attempt': 2 }, events: ['attempt failed'] })
  expect(byOutcome.get('handled')?.attributes['holdfast.retry.wait_ms']).toBeGreaterThan(0)
  expect(byOutcome.get('duplicate')).toMatchObject({ events: ['duplicate'] })
  expect(byOutcome.get('dead-lettered')).toMatchObject({ attributes: { 'error.type': 'permanent' } })

  const [dead] = named(`send ${topic}.dead-letters`)
  const given = byOutcome.get('dead-lettered')
  expect(dead).toMatchObject({ kind: CLIENT, parentSpanId: given?.spanId, links: [given?.parentSpanId] })
}

describeWith(['kafka', 'postgres'], 'the example traces-in-jaeger', () => {
  it('O-20: is one trace from the request over the outbox and Kafka to the retry, the duplicate and the dead letter', async () => {
    const receiver = await otlpReceiver()
    try {
      const env = { HOLDFAST_JAEGER_URL: receiver.url, OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url }
      const { traceId, topic, stdout } = await runTraced(env)
      expect(stdout).toBe(printed)
      expectOneTrace(receiver.spans(), traceId, topic)
    } finally {
      await receiver.close()
    }
  })
})

describeFull('all of it', () =>
  describeWith(['kafka', 'postgres', 'jaeger'], 'the example with a real Jaeger', () => {
    it('is read back from the query API as the same one trace', async () => {
      const otlp = serviceAddress('jaeger').also['otlp'] ?? jaegerUrl()
      const env = { HOLDFAST_JAEGER_URL: jaegerUrl(), OTEL_EXPORTER_OTLP_ENDPOINT: otlp }
      const { traceId, topic, stdout } = await runTraced(env)
      expect(stdout).toBe(printed)
      const response = await fetch(new URL(`/api/v3/traces/${traceId}`, jaegerUrl()))
      const { result } = (await response.json()) as { readonly result: { readonly resourceSpans: ResourceSpans[] } }
      expectOneTrace(result.resourceSpans.flatMap(spansOf), traceId, topic)
    })
  }),
)
