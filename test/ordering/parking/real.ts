import type pg from 'pg'
import {
  deadLetter,
  idempotency,
  pipeline,
  retry,
  type Bytes,
  type Delivery,
  type Pipeline,
} from '../../../src/index.ts'
import { parking, type ParkingOptions } from '../../../src/ordering/parking/parking.ts'
import { parkingWorker, type ParkingWorkerOptions } from '../../../src/ordering/parking/worker.ts'
import {
  migrate,
  postgresDeadLetters,
  postgresIdempotencyStore,
  postgresOperatorStore,
  transaction,
} from '../../../src/stores/postgres/index.ts'
import { createTestPool } from '../../support/test-pool.ts'

type Handler = (delivery: Delivery<Bytes> & { readonly tx: pg.PoolClient }) => Promise<void> | void

/** A pipeline that parks in PostgreSQL, with effects in the handler's transaction and letters in the same schema. */
export async function realWorld(options: Partial<ParkingOptions> = {}, pools: pg.PoolConfig = {}, maxAttempts = 1) {
  const { pool, schema, url, dispose } = await createTestPool({ max: 16, ...pools })
  await migrate(pool, { schema })
  await pool.query(`create table ${schema}.effect (at bigserial, id text, key text)`)
  const store = postgresIdempotencyStore(pool, { schema })
  const letters = postgresDeadLetters(pool, { schema })
  const operator = postgresOperatorStore(pool, { schema, letters })
  const handler: { now: Handler } = { now: () => {} }
  const build = (name: string, inside = true): Pipeline => {
    const stack = pipeline(name)
      .use(deadLetter({ to: letters }))
      .use(parking({ store, ...options }))
      .use(idempotency({ store, leaseMs: 5_000 }))
      .use(retry({ maxAttempts }))
    const effect = (tx: pg.Pool | pg.PoolClient, { message }: Delivery<Bytes>) =>
      tx.query(`insert into ${schema}.effect (id, key) values ($1, $2)`, [message.id, message.key])
    if (!inside)
      return stack.handle(async (delivery) => {
        await handler.now({ ...delivery, tx: undefined as never })
        await effect(pool, delivery)
      })
    return stack.use(transaction<pg.PoolClient>(pool)).handle(async (delivery) => {
      await handler.now(delivery)
      await effect(delivery.tx, delivery)
    })
  }
  const orders = build('orders')

  async function send(id: string, key: string | null = 'A', through = orders) {
    return through.dispatch({
      message: { id, key, body: Buffer.from(id) },
      origin: { system: 'kafka', destination: 'topic' },
    })
  }
  async function effects(): Promise<readonly string[]> {
    const { rows } = await pool.query<{ id: string }>(`select id from ${schema}.effect order by at`)
    return rows.map(({ id }) => id)
  }
  /** A worker that runs until the condition holds. */
  async function work(until: () => Promise<boolean>, more: Partial<ParkingWorkerOptions> = {}): Promise<void> {
    const stop = new AbortController()
    const worker = parkingWorker({ store, pipelines: [orders], pollMs: 10, leaseMs: 3_000, drainMs: 1_000, ...more })
    const running = worker.run(stop.signal)
    try {
      const endMs = Date.now() + 20_000
      while (!(await until())) {
        if (Date.now() > endMs) throw new Error(`not so within 20 s: ${JSON.stringify(await store.status('orders'))}`)
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    } finally {
      stop.abort()
      await running
    }
  }
  const isFree = async () => (await store.status('orders')).lanes === 0
  const isBlocked = async () => (await store.status('orders')).blocked > 0
  async function lane() {
    const [first] = (await operator.parked?.({ scope: 'orders' })) ?? []
    if (first === undefined) throw new Error('nothing is parked')
    return first
  }
  return {
    pool,
    schema,
    url,
    dispose,
    store,
    letters,
    operator,
    handler,
    orders,
    build,
    send,
    effects,
    work,
    isFree,
    isBlocked,
    lane,
  }
}

export type RealWorld = Awaited<ReturnType<typeof realWorld>>
