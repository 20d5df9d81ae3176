import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import { context, propagation, trace } from '@opentelemetry/api'
import { KafkaJsInstrumentation } from '@opentelemetry/instrumentation-kafkajs'
import { PgInstrumentation } from '@opentelemetry/instrumentation-pg'
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import type { Admin, Kafka, Producer } from 'kafkajs'
import type { Pool } from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { headersFrom, headerText, outgoing, pipeline, publisher, type Delivery } from 'holdfast'
import { eachMessage, kafkajsConsumer, kafkajsPublisher } from 'holdfast/kafkajs'
import { outboxRelay } from 'holdfast/outbox'
import { migrate, postgresIdempotencyStore, postgresOutbox, postgresOutboxStore } from 'holdfast/postgres'
import { tracedCreate, tracedPublish, tracedSettles, tracing, withoutTracing } from 'holdfast/tracing'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { describeWith, kafkaBrokers, postgresUrl, uniqueName } from '../support/services.ts'
import { linksOf, parentOf } from './support.ts'
import { createTopics } from '../support/kafka-topics.ts'

const exporter = new InMemorySpanExporter()
const instrumentations = [new KafkaJsInstrumentation(), new PgInstrumentation()]
// They patch what is required after them.
const required = createRequire(import.meta.url)
const { Kafka: KafkaClient, logLevel } = required('kafkajs') as typeof import('kafkajs')
const { Pool: PgPool } = required('pg') as typeof import('pg')

const names = () => exporter.getFinishedSpans().map(({ name }) => name)
const spansNamed = (name: string) => exporter.getFinishedSpans().filter((span) => span.name === name)
const roots = () => exporter.getFinishedSpans().filter((span) => parentOf(span) === undefined)

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    if (holds()) return
    await sleep(50)
  }
  throw new Error(`did not come true within 20 s; spans: ${names().join(', ')}`)
}

describeWith(['kafka', 'postgres'], 'with instrumentation-kafkajs and instrumentation-pg', () => {
  const schema = uniqueName('traced')
  let kafka: Kafka
  let admin: Admin
  let producer: Producer
  let pool: Pool
  let topic: string

  beforeAll(async () => {
    const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
    provider.register()
    for (const each of instrumentations) each.setTracerProvider(provider)
    kafka = new KafkaClient({ brokers: kafkaBrokers(), logLevel: logLevel.NOTHING })
    admin = kafka.admin()
    producer = kafka.producer({ idempotent: true })
    pool = new PgPool({ connectionString: postgresUrl() })
    await Promise.all([admin.connect(), producer.connect(), migrate(pool, { schema })])
  })

  beforeEach(async () => {
    topic = uniqueName('traced')
    await createTopics(admin, [{ topic }])
    exporter.reset()
  })

  afterEach(async () => {
    await admin.deleteTopics({ topics: [topic] })
  })

  afterAll(async () => {
    await pool.query(`drop schema ${schema} cascade`)
    await Promise.all([admin.disconnect(), producer.disconnect(), pool.end()])
    for (const each of instrumentations) each.disable()
    trace.disable()
    context.disable()
    propagation.disable()
  })

  it('is really there: a bare send and a bare query leave spans', async () => {
    await producer.send({ topic, messages: [{ value: 'x' }] })
    await pool.query('select 1')
    expect(names()).toEqual(expect.arrayContaining([`send ${topic}`, 'pg.query:SELECT postgres']))
  })

  it('K-19: a stored traceparent arrives unbroken, and there is one send span', async () => {
    const stored = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
    const headers = headersFrom([['traceparent', stored]])
    const target = publisher(kafkajsPublisher(producer)).use(tracedPublish())
    await target.publish([outgoing({ destination: topic, body: Buffer.from('x'), headers })])
    expect(names()).toEqual([`send ${topic}`])

    let arrived: Delivery | undefined
    const stopping = new AbortController()
    const handled = pipeline('billing').handle((delivery) => {
      arrived = delivery
    })
    const consumer = kafkajsConsumer({ kafka, groupId: topic, topics: [topic], pipeline: handled })
    const running = consumer.run(stopping.signal)
    await until(() => arrived !== undefined)
    stopping.abort()
    await running
    expect(headerText(arrived?.message.headers ?? headersFrom([]), 'traceparent')).toBe(stored)
  })

  it('eachMessage: adopts the process span that is there, in the trace of the producer', async () => {
    await publisher(kafkajsPublisher(producer))
      .use(tracedPublish())
      .publish([outgoing({ id: 'm-1', destination: topic, body: Buffer.from('x') })])
    const billing = pipeline('billing')
      .use(tracing())
      .use(idempotency({ store: postgresIdempotencyStore(pool, { schema }) }))
      .handle(async () => {})
    const consumer = kafka.consumer({ groupId: topic, maxWaitTimeInMs: 100 })
    await consumer.connect()
    await consumer.subscribe({ topics: [topic], fromBeginning: true })
    await consumer.run({ eachMessage: eachMessage(billing, { consumer }) })
    await until(() => spansNamed(`process ${topic}`).length > 0)
    await consumer.disconnect()

    const [processed, second] = spansNamed(`process ${topic}`)
    const [sent] = spansNamed(`send ${topic}`)
    expect(second).toBeUndefined()
    expect(processed?.instrumentationScope.name).toBe('@opentelemetry/instrumentation-kafkajs')
    expect(parentOf(processed!)).toBe(sent?.spanContext().spanId)
    expect(processed?.attributes).toMatchObject({
      'holdfast.pipeline': 'billing',
      'holdfast.outcome': 'handled',
      'messaging.message.id': 'm-1',
    })
    // The claim and its completion belong to the delivery.
    const queries = exporter.getFinishedSpans().filter(({ name }) => name.startsWith('pg.query:'))
    expect(queries.length).toBeGreaterThan(0)
    expect(queries.map((span) => span.spanContext().traceId)).toEqual(queries.map(() => sent?.spanContext().traceId))
  })

  it('kafkajsConsumer under withoutTracing(): one process span for each message, ours', async () => {
    await publisher(kafkajsPublisher(producer))
      .use(tracedPublish())
      .publish(['a', 'b'].map((id) => outgoing({ id, destination: topic, body: Buffer.from('x') })))
    const billing = pipeline('billing')
      .use(tracing())
      .handle(async () => {
        await pool.query('select 1')
      })
    const stopping = new AbortController()
    const stopSettles = tracedSettles()
    const consumer = kafkajsConsumer({ kafka, groupId: topic, topics: [topic], pipeline: billing })
    const running = withoutTracing(() => consumer.run(stopping.signal))
    await until(() => spansNamed(`process ${topic}`).length >= 2)
    stopping.abort()
    await running
    stopSettles()
    expect(spansNamed(`settle ${topic}`).length).toBeGreaterThan(0)

    const processed = spansNamed(`process ${topic}`)
    expect(processed.map(({ instrumentationScope }) => instrumentationScope.name)).toEqual(['holdfast', 'holdfast'])
    const creates = spansNamed(`create ${topic}`).map((span) => span.spanContext().spanId)
    expect(processed.map(parentOf).toSorted()).toEqual(creates.toSorted())
    const queries = spansNamed('pg.query:SELECT postgres')
    expect(queries.map(parentOf).toSorted()).toEqual(processed.map((span) => span.spanContext().spanId).toSorted())
  })

  it('a relay that polls leaves no spans, and what it sends is in the trace of its making', async () => {
    const relay = outboxRelay({
      store: postgresOutboxStore(pool, { schema }),
      publisher: publisher(kafkajsPublisher(producer)).use(tracedPublish()),
      maxPollMs: 20,
    })
    const stopping = new AbortController()
    const running = withoutTracing(() => relay.run(stopping.signal))
    await sleep(500)
    expect(names()).toEqual([])

    const outbox = postgresOutbox({ schema, through: tracedCreate() })
    await trace.getTracer('test').startActiveSpan('POST /orders', async (span) => {
      const client = await pool.connect()
      await client.query('begin')
      await outbox.add(client, { destination: topic, id: 'm-1', body: Buffer.from('x') })
      await client.query('commit')
      client.release()
      span.end()
    })
    await until(() => spansNamed(`send ${topic}`).length > 0)
    await sleep(300)
    stopping.abort()
    await running

    const [created] = spansNamed(`create ${topic}`)
    const [sent, another] = spansNamed(`send ${topic}`)
    expect(another).toBeUndefined()
    expect(parentOf(sent!)).toBe(created?.spanContext().spanId)
    expect(linksOf(sent!)).toEqual([created?.spanContext().spanId])
    // The INSERT is inside the span of the making, between begin and commit; no query of the relay is anywhere.
    const queries = names().filter((name) => name.startsWith('pg.'))
    expect(queries.filter((name) => name.startsWith('pg.query:'))).toHaveLength(3)
    expect(roots().map(({ name }) => name)).toEqual(['POST /orders'])
  })
})
