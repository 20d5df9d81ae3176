import pg from 'pg'
import { postgresUrl, uniqueName } from './services.ts'

export interface TestPool {
  readonly pool: pg.Pool
  /** A schema of its own, first in the search path of every connection of `pool`. */
  readonly schema: string
  readonly url: string
  /** Drops the schema and ends the pool. */
  dispose(): Promise<void>
}

/** A pool with a schema of its own; further options go to `pg.Pool`. */
export async function createTestPool(options: pg.PoolConfig = {}): Promise<TestPool> {
  const { connectionString: url = postgresUrl(), max = 10, ...rest } = options
  const schema = uniqueName('test')
  const pool = new pg.Pool({ connectionString: url, max, options: `-c search_path=${schema},public`, ...rest })
  // An idle connection that breaks, as in tests that cut it, must not end the process.
  pool.on('error', () => {})
  await pool.query(`create schema ${schema}`)
  const dispose = async () => {
    await pool.query(`drop schema if exists ${schema} cascade`).catch(() => {})
    await pool.end()
  }
  return { pool, schema, url, dispose }
}
