import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Consumer } from '../../../src/consumer/consumer.ts'
import type { Delivery } from '../../../src/core/delivery.ts'
import { RetryLater } from '../../../src/core/errors.ts'
import { subscribe } from '../../../src/core/events.ts'
import { pipeline, type Pipeline } from '../../../src/core/pipeline.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { retry } from '../../../src/retry/retry.ts'
import { postgresIdempotencyStore, transaction } from '../../../src/stores/postgres/index.ts'
import { tellChanges } from './problems.ts'

/** What every consumer process of a crash run is told. */
export interface WorkerSettings {
  readonly url: string
  readonly group: string
  readonly postgresUrl: string
  readonly schema: string
  readonly handlerMs: number
  readonly concurrency: number
  readonly freezeMs: number
  readonly planted: string | undefined
}

export interface Opened {
  readonly consumer: Consumer
  close(): Promise<void>
}

const quiet = (): void => {}

/** Runs a consumer process to its SIGTERM. It talks in lines. */
export async function work(settings: WorkerSettings, open: (orders: Pipeline) => Promise<Opened>): Promise<void> {
  const { postgresUrl, concurrency } = settings
  const claims = new pg.Pool({ connectionString: postgresUrl, max: 4 })
  const effects = new pg.Pool({ connectionString: postgresUrl, max: concurrency })
  for (const pool of [claims, effects]) pool.on('error', quiet)

  tellChanges()
  const counts = { delivered: 0, duplicates: 0 }
  subscribe('duplicate-seen', () => void counts.duplicates++)
  setInterval(() => console.log(`counts ${JSON.stringify(counts)}`), 100).unref()

  const leaving = new AbortController()
  process.once('SIGTERM', () => leaving.abort(new Error('SIGTERM')))
  const { consumer, close } = await open(
    ordersOf(settings, { claims, effects, delivered: () => void counts.delivered++ }),
  )
  console.log('ready')
  await consumer.run(leaving.signal)
  await Promise.race([close().catch(quiet), sleep(1000)])
  await Promise.all([claims.end(), effects.end()])
  process.exit(0)
}

interface Means {
  readonly claims: pg.Pool
  readonly effects: pg.Pool
  readonly delivered: () => void
}

function ordersOf({ group, schema, handlerMs, freezeMs, planted }: WorkerSettings, means: Means): Pipeline {
  // The whole process stands still in the middle of a message, longer than its heartbeat and its lease.
  let freeze = false
  process.on('SIGUSR2', () => (freeze = true))

  async function handle({ message, attempt, tx }: Delivery & { readonly tx: pg.PoolClient }): Promise<void> {
    means.delivered()
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
      : idempotency({ store: postgresIdempotencyStore(means.claims, { schema }), leaseMs: 3000 }),
  )
  return claimed
    .use(retry({ maxAttempts: 1000 }))
    .use(transaction<pg.PoolClient>(means.effects))
    .handle(handle)
}
