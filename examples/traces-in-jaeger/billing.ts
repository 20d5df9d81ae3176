import { json, PermanentError, publisher, resilient, subscribe } from 'holdfast'
import { kafkajsConsumer, kafkajsPublisher } from 'holdfast/kafkajs'
import { postgresIdempotencyStore } from 'holdfast/postgres'
import { tracedPublish, tracing, withoutTracing } from 'holdfast/tracing'
import { Kafka, logLevel } from 'kafkajs'
import pg from 'pg'
import { Order } from './order.ts'
import { settings } from './settings.ts'
import { startTelemetry } from './telemetry.ts'

const telemetry = startTelemetry('billing')
const { brokers, databaseUrl, schema, topic } = await settings()
const pool = new pg.Pool({ connectionString: databaseUrl }).on('error', () => {})
const kafka = new Kafka({ brokers, logLevel: logLevel.NOTHING })
const producer = kafka.producer({ idempotent: true })
await producer.connect()

let shaky = true

const billing = resilient('billing', {
  codec: json(Order),
  deadLetters: publisher(kafkajsPublisher(producer)).use(tracedPublish()),
  store: postgresIdempotencyStore(pool, { schema }),
  outside: [tracing()],
  log: false,
}).handle(async ({ message: { body } }) => {
  if (body.cents < 0) throw new PermanentError('an order cannot cost less than nothing')
  if (shaky) {
    shaky = false
    throw new Error('the payment provider does not answer')
  }
})

// For the example's own output.
subscribe('settled', ({ delivery, outcome }) => process.send?.({ order: delivery.message.id, outcome }))

const stopping = new AbortController()
const consumer = kafkajsConsumer({ kafka, groupId: `${topic}.billing`, topics: [topic], pipeline: billing })
const consuming = withoutTracing(() => consumer.run(stopping.signal))

process.once('disconnect', () => {
  void stop()
})

async function stop(): Promise<void> {
  stopping.abort()
  await consuming
  await Promise.all([producer.disconnect(), pool.end(), telemetry.stop()])
}
