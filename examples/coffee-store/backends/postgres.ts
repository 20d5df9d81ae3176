import { migrate, postgresIdempotencyStore } from 'holdfast/postgres'
import pg from 'pg'
import { addressOf } from '../../services.ts'
import type { Keys } from '../backend.ts'
import { unreachable } from './unreachable.ts'

export async function postgresKeys(address: string | true): Promise<Keys> {
  const connectionString = address === true ? await addressOf('postgres') : address
  const pool = new pg.Pool({ connectionString, max: 4, connectionTimeoutMillis: 5_000 })
  // A connection that ends while nobody uses it is replaced; without a listener it would end the process.
  pool.on('error', () => {})
  await pool.query('select 1').catch((error: unknown) => unreachable('PostgreSQL', 'postgres', connectionString, error))
  await migrate(pool)
  return { store: postgresIdempotencyStore(pool), closeKeys: () => pool.end() }
}
