import { setTimeout as sleep } from 'node:timers/promises'
import amqp from 'amqplib'
import pg from 'pg'
import type { Delivery } from '../../../src/core/delivery.ts'
import { RetryLater } from '../../../src/core/errors.ts'
import { subscribe } from '../../../src/core/events.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { retry } from '../../../src/retry/retry.ts'
import { postgresIdempotencyStore, transaction } from '../../../src/stores/postgres/index.ts'
import { plant } from './breaks.ts'

export interface WorkerSettings {
  readonly url: string
  readonly queues: readonly string[]
  readonly group: string
  readonly postgresUrl: string
  readonly schema: string
  readonly handlerMs: number
  readonly concurrency: number
  readonly prefetch: number
  readonly freezeMs: number
  readonly planted: string | undefined
}

/** One consumer process of the crash run. It reads its settings from its first argument and talks in lines. */
const settings = JSON.parse(process.argv[2] ?? '{}') as WorkerSettings
const { url, queues, group, postgresUrl, schema, handlerMs, concurrency, prefetch, freezeMs, planted } = settings
plant(planted)
const { rabbitmqConsumer } = await import('../../../src/transports/rabbitmq/index.ts')

const quiet = (): void => {}
const claims = new pg.Pool({ connectionString: postgresUrl, max: 4 })
const work = new pg.Pool({ connectionString: postgresUrl, max: concurrency })
for (const pool of [claims, work]) pool.on('error', quiet)

const counts = { delivered: 0, duplicates: 0 }
subscribe('duplicate-seen', () => void counts.duplicates++)
setInterval(() => console.log(`counts ${JSON.stringify(counts)}`), 100).unref()

// The whole process stands still in the middle of a message, longer than its heartbeat and its lease.
let freeze = false
process.on('SIGUSR2', () => (freeze = true))

async function handle({ message, attempt, tx }: Delivery & { readonly tx: pg.PoolClient }): Promise<void> {
  counts.delivered++
  if (attempt === 1 && Math.random() < 0.01)
    throw Math.random() < 0.5 ? new Error('now and then') : new RetryLater(Math.random() * 300)
  if (handlerMs > 0) await sleep(Math.random() * handlerMs * 2)
  await tx.query(`insert into ${schema}.effects (id, key, n, pid) values ($1, $2, $3, $4)`, [
    message.id,
    message.key,
    Number(message.id.slice(1)),
    process.pid,
  ])
  if (!freeze) return
  freeze = false
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, freezeMs)
}

const claimed = pipeline(group).use(
  planted === 'no-idempotency'
    ? (next) => (delivery) => next(delivery)
    : idempotency({ store: postgresIdempotencyStore(claims, { schema }), leaseMs: 3000 }),
)
const orders = claimed
  .use(retry({ maxAttempts: 1000 }))
  .use(transaction<pg.PoolClient>(work))
  .handle(handle)

const connection = await amqp.connect(url, { recovery: { initialDelay: 100, maxDelay: 1000 } })
connection.on('error', quiet)
const leaving = new AbortController()
process.once('SIGTERM', () => leaving.abort(new Error('SIGTERM')))
console.log('ready')
await rabbitmqConsumer({
  ...{ connection, queues, group, pipeline: orders, concurrency, prefetch },
  ...{ redeliverMs: 50, drainMs: 8000, checkQueues: planted !== 'no-single-active' },
}).run(leaving.signal)
await Promise.race([connection.close(), sleep(1000)])
await Promise.all([claims.end(), work.end()])
process.exit(0)
