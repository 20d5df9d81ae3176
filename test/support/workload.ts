import pg from 'pg'
import { systemClock, type Clock } from '../../src/core/clock.ts'
import type { Delivery } from '../../src/core/delivery.ts'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import type { TransactionalIdempotencyStore } from '../../src/idempotency/store.ts'
import { pipeline, type Pipeline } from '../../src/core/pipeline.ts'
import { postgresIdempotencyStore, transaction } from '../../src/stores/postgres/index.ts'
import { brokenStore } from '../../scripts/chaos/kafka/breaks.ts'

export type InTransaction = Delivery & { readonly tx: pg.PoolClient; readonly fence: bigint }

export interface WorkloadOptions {
  readonly url: string
  readonly schema: string
  readonly handler: (delivery: InTransaction) => Promise<void>
  /** @defaultValue 3000 */
  readonly leaseMs?: number
  /** @defaultValue 8 */
  readonly concurrency?: number
  readonly broken?: string | undefined
  /** Goes between the pipeline and its store. */
  readonly around?: (store: TransactionalIdempotencyStore) => TransactionalIdempotencyStore
  readonly clock?: Clock
  /** Hears what the store's statements are answered with, before the store does something about it. */
  readonly onStoreError?: (error: unknown) => void
  /** For both pools. */
  readonly pools?: pg.PoolConfig
}

export interface Workload {
  readonly pipeline: Pipeline
  deliver(id: string): Promise<unknown>
  dispose(): Promise<void>
}

/** Claims in PostgreSQL, effects in the transaction that completes the claim: what we promise most for. */
export function workload({
  url,
  schema,
  handler,
  leaseMs = 3000,
  concurrency = 8,
  broken,
  around = (store) => store,
  clock = systemClock,
  onStoreError = () => {},
  pools = {},
}: WorkloadOptions): Workload {
  const claims = new pg.Pool({ connectionString: url, max: 2, ...pools })
  const work = new pg.Pool({ connectionString: url, max: concurrency, ...pools })
  for (const pool of [claims, work]) pool.on('error', () => {})
  const watched = {
    query: (text: string, values: unknown[]) =>
      claims.query(text, values).catch((error: unknown) => {
        onStoreError(error)
        throw error
      }),
  }
  const store = around(brokenStore(postgresIdempotencyStore(watched, { schema }), broken))
  const orders = pipeline('orders')
    .use(idempotency({ store, leaseMs, clock }))
    .use(transaction<pg.PoolClient>(work))
    .handle(handler)
  return {
    pipeline: orders,
    deliver: (id) => orders.dispatch({ message: { id, body: Buffer.from(id) } }),
    dispose: async () => {
      await Promise.all([claims.end(), work.end()])
    },
  }
}
