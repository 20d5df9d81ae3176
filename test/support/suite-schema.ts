import type pg from 'pg'
import { afterAll } from 'vitest'
import { migrate } from '../../src/stores/postgres/index.ts'
import { createTestPool, type TestPool } from './test-pool.ts'

/**
 * One migrated schema for a suite: call it in `describe`, and what it returns in each test. The claims and what is parked
 * are taken out each time. A migration for each test would take longer than the tests.
 */
export function suiteSchema(options: pg.PoolConfig = {}): () => Promise<Omit<TestPool, 'dispose'>> {
  let made: Promise<TestPool> | undefined
  afterAll(async () => (await made)?.dispose())
  return async () => {
    made ??= make(options)
    const { pool, schema, url } = await made
    await pool.query(`truncate ${schema}.idempotency, ${schema}.parked, ${schema}.parked_lane`)
    return { pool, schema, url }
  }
}

async function make(options: pg.PoolConfig): Promise<TestPool> {
  const testPool = await createTestPool(options)
  await migrate(testPool.pool, { schema: testPool.schema })
  return testPool
}
