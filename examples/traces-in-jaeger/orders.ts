import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { SpanKind, trace } from '@opentelemetry/api'
import { json, publisher } from 'holdfast'
import { kafkajsPublisher } from 'holdfast/kafkajs'
import { outboxRelay } from 'holdfast/outbox'
import { postgresOutbox, postgresOutboxStore } from 'holdfast/postgres'
import { tracedCreate, tracedPublish, withoutTracing } from 'holdfast/tracing'
import { Kafka, logLevel } from 'kafkajs'
import pg from 'pg'
import { z } from 'zod'
import { Order } from './order.ts'
import { settings } from './settings.ts'
import { startTelemetry } from './telemetry.ts'

const telemetry = startTelemetry('orders')
const { brokers, databaseUrl, schema, topic } = await settings()
const pool = new pg.Pool({ connectionString: databaseUrl }).on('error', () => {})
const producer = new Kafka({ brokers, logLevel: logLevel.NOTHING }).producer({ idempotent: true })
await producer.connect()

// Each message is stored with the context of a `create` span.
const outbox = postgresOutbox({ schema, codec: json(Order), through: tracedCreate() })

async function place(orders: readonly Order[]): Promise<void> {
  const client = await pool.connect()
  try {
    await client.query('begin')
    await outbox.add(
      client,
      orders.map((order) => ({ destination: topic, key: order.customer, id: order.orderId, body: order })),
    )
    await client.query('commit')
  } finally {
    client.release()
  }
}

// The relay sends them later, in the trace of their making. That it polls leaves no spans.
const relay = outboxRelay({
  store: postgresOutboxStore(pool, { schema }),
  publisher: publisher(kafkajsPublisher(producer)).use(tracedPublish()),
})
const stopping = new AbortController()
const relaying = withoutTracing(() => relay.run(stopping.signal))

/** The span that instrumentation of HTTP would open. */
function answer(request: IncomingMessage): Promise<string> {
  return trace.getTracer('orders').startActiveSpan('POST /orders', { kind: SpanKind.SERVER }, async (span) => {
    await place(z.array(Order).parse(JSON.parse(await text(request))))
    span.end()
    return span.spanContext().traceId
  })
}

const server = createServer((request, response) => {
  answer(request).then(
    (traceId) => response.writeHead(202).end(traceId),
    (error: unknown) => response.writeHead(500).end(String(error)),
  )
})
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }))

process.once('disconnect', () => {
  void stop()
})

async function stop(): Promise<void> {
  server.close()
  stopping.abort()
  await relaying
  await Promise.all([producer.disconnect(), pool.end(), telemetry.stop()])
}
