import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Delivery } from '../../../src/core/delivery.ts'
import { RetryLater } from '../../../src/core/errors.ts'
import { subscribe } from '../../../src/core/events.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { retry } from '../../../src/retry/retry.ts'
import { postgresIdempotencyStore, transaction } from '../../../src/stores/postgres/index.ts'
import { plant } from './breaks.ts'
import { connectTo } from './connect.ts'

export interface WorkerSettings {
  readonly url: string
  readonly address: string
  readonly keys: number
  readonly postgresUrl: string
  readonly schema: string
  readonly handlerMs: number
  readonly concurrency: number
  readonly window: number
  readonly freezeMs: number
  readonly planted: string | undefined
}

/** One consumer process of the crash run. It reads its settings from its first argument and talks in lines. */
const settings = JSON.parse(process.argv[2] ?? '{}') as WorkerSettings
const { url, address, keys, postgresUrl, schema, handlerMs, concurrency, window, freezeMs, planted } = settings
plant(planted)
const { amqpConsumer, queue } = await import('../../../src/transports/amqp/index.ts')

const quiet = (): void => {}
const claims = new pg.Pool({ connectionString: postgresUrl, max: 4 })
const work = new pg.Pool({ connectionString: postgresUrl, max: concurrency })
for (const pool of [claims, work]) pool.on('error', quiet)

const counts = { delivered: 0, duplicates: 0 }
subscribe('duplicate-seen', () => void counts.duplicates++)
setInterval(() => console.log(`counts ${JSON.stringify(counts)}`), 100).unref()

// The whole process stands still in the middle of a message, longer than its idle time-out and its lease.
let freeze = false
process.on('SIGUSR2', () => (freeze = true))

async function handle({ message, attempt, tx }: Delivery & { readonly tx: pg.PoolClient }): Promise<void> {
  counts.delivered++
  if (attempt === 1 && Math.random() < 0.01)
    throw Math.random() < 0.5 ? new Error('now and then') : new RetryLater(Math.random() * 300)
  if (handlerMs > 0) await sleep(Math.random() * handlerMs * 2)
  const n = Number(message.id.slice(1))
  await tx.query(`insert into ${schema}.effects (id, key, n, pid) values ($1, $2, $3, $4)`, [
    message.id,
    `k${n % keys}`,
    n,
    process.pid,
  ])
  if (!freeze) return
  freeze = false
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, freezeMs)
}

const orders = pipeline(address)
  .use(
    planted === 'no-idempotency'
      ? (next) => (delivery) => next(delivery)
      : idempotency({ store: postgresIdempotencyStore(claims, { schema }), leaseMs: 1500 }),
  )
  .use(retry({ maxAttempts: 1000 }))
  .use(transaction<pg.PoolClient>(work))
  .handle(handle)

const connection = connectTo(url, `${address}-${process.pid}`)
const leaving = new AbortController()
process.once('SIGTERM', () => leaving.abort(new Error('SIGTERM')))
console.log('ready')
await amqpConsumer({
  ...{ connection, sources: [queue(address)], pipeline: orders, concurrency, window },
  ...{ redeliverMs: 50, drainMs: 8000 },
}).run(leaving.signal)
connection.close()
await Promise.all([claims.end(), work.end()])
process.exit(0)
