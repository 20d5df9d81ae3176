import { setTimeout as sleep } from 'node:timers/promises'
import kafkajs from 'kafkajs'
import pg from 'pg'
import type { Delivery } from '../../../src/core/delivery.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { retry } from '../../../src/retry/retry.ts'
import { migrate, postgresIdempotencyStore, transaction } from '../../../src/stores/postgres/index.ts'
import { subscribe } from '../../../src/core/events.ts'
import { plant } from '../brokers/plant.ts'
import { tellChanges } from '../brokers/problems.ts'
import { brokenStore, patches } from './breaks.ts'
import type { MemberSettings } from './member.ts'

/** One consumer process of the crash run. It reads its settings from its first argument and talks in lines. */
const settings = JSON.parse(process.argv[2] ?? '{}') as MemberSettings
const { brokers, topic, groupId, postgresUrl, schema, ordered, graceful, client } = settings
const { concurrency, handlerMs, planted, freezeMs } = settings
plant(patches, planted)
const { eachMessage, kafkajsConsumer } = await import('../../../src/transports/kafkajs/index.ts')
const { platformaticKafkaConsumer } = await import('../../../src/transports/platformatic-kafka/index.ts')

const sessionMs = 3000
const heartbeatMs = 300

const quiet = (): void => {}
const claims = new pg.Pool({ connectionString: postgresUrl, max: 2 })
const work = new pg.Pool({ connectionString: postgresUrl, max: concurrency })
claims.on('error', quiet)
work.on('error', quiet)
await migrate(work, { schema })

tellChanges()
const counts = { delivered: 0, duplicates: 0 }
subscribe('duplicate-seen', () => void counts.duplicates++)
setInterval(() => console.log(`counts ${JSON.stringify(counts)}`), 100).unref()

// The whole process stands still in the middle of a message, longer than its session and its lease.
let freeze = false
process.on('SIGUSR2', () => (freeze = true))

async function handle({ message, tx }: Delivery & { readonly tx: pg.PoolClient }): Promise<void> {
  counts.delivered++
  if (handlerMs > 0) await sleep(Math.random() * handlerMs * 2)
  const n = Number(Buffer.from(message.body as Uint8Array).toString())
  await tx.query(`insert into ${schema}.effects (id, key, n, pid) values ($1, $2, $3, $4)`, [
    message.id,
    message.key,
    n,
    process.pid,
  ])
  if (!freeze) return
  freeze = false
  console.log('frozen')
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, freezeMs)
}

const claimed = pipeline(topic).use(
  idempotency({ store: brokenStore(postgresIdempotencyStore(claims, { schema }), planted), leaseMs: 3000 }),
)
const orders = graceful
  ? pipeline(topic).use(transaction<pg.PoolClient>(work)).handle(handle)
  : claimed
      .use(retry({ maxAttempts: 1000 }))
      .use(transaction<pg.PoolClient>(work))
      .handle(handle)

const kafka = new kafkajs.Kafka({
  clientId: `chaos-${process.pid}`,
  brokers: [...brokers],
  logLevel: kafkajs.logLevel.NOTHING,
  retry: { initialRetryTime: 200, retries: 8 },
})
const leaving = new AbortController()
process.once('SIGTERM', () => leaving.abort(new Error('SIGTERM')))

if (ordered) {
  const options = {
    groupId,
    topics: [topic],
    pipeline: orders,
    concurrency,
    sessionMs,
    heartbeatMs,
    rebalanceMs: 10_000,
    drainMs: 8000,
  }
  const connection = { clientId: `chaos-${process.pid}`, bootstrapBrokers: [...brokers] }
  const consumer =
    client === 'kafkajs'
      ? kafkajsConsumer({ kafka, ...options })
      : platformaticKafkaConsumer({ connection, groupProtocol: client, ...options })
  console.log('ready')
  await consumer.run(leaving.signal)
} else {
  const consumer = kafka.consumer({
    groupId,
    sessionTimeout: sessionMs,
    heartbeatInterval: heartbeatMs,
    maxWaitTimeInMs: 200,
  })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    autoCommitInterval: 500,
    eachMessage: eachMessage(orders, { signal: leaving.signal, consumer, sessionMs, heartbeatMs }),
  })
  console.log('ready')
  await new Promise((resolve) => leaving.signal.addEventListener('abort', resolve))
  await consumer.disconnect()
}
await Promise.all([claims.end(), work.end()])
