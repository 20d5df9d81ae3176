import { outboxRelay, type OutboxStore } from 'holdfast/outbox'
import { migrate, postgresOutboxStore } from 'holdfast/postgres'
import type { Publisher } from 'holdfast'
import pg from 'pg'
import { privatePostgres } from '../../test/support/private-servers.ts'

export interface OutboxServer {
  readonly url: string
  readonly pool: pg.Pool
  readonly store: OutboxStore
  /** An empty outbox, and nothing left for the server to write behind. */
  empty(): Promise<void>
  fill(rows: number, bytes: number): Promise<void>
  dispose(): Promise<void>
}

export async function outboxServer(): Promise<OutboxServer> {
  const server = await privatePostgres({ settings: ['shared_buffers=512MB', 'max_wal_size=8GB'] })
  const pool = new pg.Pool({ connectionString: server.url, max: 20 })
  pool.on('error', () => {})
  await migrate(pool)
  return {
    url: server.url,
    pool,
    store: postgresOutboxStore(pool),
    async empty() {
      await pool.query('truncate holdfast.outbox')
      await pool.query('checkpoint')
    },
    async fill(rows, bytes) {
      const perStatement = 500_000
      for (let left = rows; left > 0; left -= perStatement)
        await pool.query(
          `insert into holdfast.outbox (topic, key, type, message_id, payload)
           select 'holdfast-bench', 'k' || n % 1000, 't', n::text, decode(repeat('00', $2::int), 'hex')
           from generate_series(1, $1::int) n`,
          [Math.min(left, perStatement), bytes],
        )
      await pool.query('checkpoint')
    },
    async dispose() {
      await pool.end()
      await server.dispose()
    },
  }
}

/** Runs a relay until so many messages were published; resolves to how many that made a second. */
export async function drained({ store }: OutboxServer, messages: number, wire?: Publisher): Promise<number> {
  let left = messages
  const stop = new AbortController()
  const publisher: Publisher = {
    async publish(rows, options) {
      await wire?.publish(rows, options)
      left -= rows.length
      if (left <= 0) stop.abort()
    },
  }
  // Kafka takes no larger batches than the default; what takes nothing at all is given larger ones.
  const large = wire === undefined ? { batchRows: 1000, batchBytes: 4_000_000 } : {}
  const startedMs = performance.now()
  await outboxRelay({ store, publisher, ...large }).run(stop.signal)
  return perSecond(messages, startedMs)
}

export function perSecond(count: number, startedMs: number): number {
  return count / ((performance.now() - startedMs) / 1000)
}
