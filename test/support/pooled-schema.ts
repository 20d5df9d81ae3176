import pg from 'pg'
import { afterAll, beforeAll } from 'vitest'
import { migrate, type SchemaFeature } from '../../src/stores/postgres/index.ts'
import { pgbouncer, type Pgbouncer } from './pgbouncer.ts'
import { createTestPool, type TestPool } from './test-pool.ts'

export interface PooledSchema extends Pick<TestPool, 'pool' | 'schema'> {
  /** The same server behind pgbouncer in transaction mode. */
  readonly pooled: pg.Pool
}

/** One schema for a suite, alone and behind pgbouncer: call it in `describe`, and what it returns in each test. */
export function pooledSchema(features: readonly SchemaFeature[]): () => PooledSchema {
  let testPool: TestPool
  let pooler: Pgbouncer
  let pooled: pg.Pool
  beforeAll(async () => {
    testPool = await createTestPool({ max: 8 })
    await migrate(testPool.pool, { schema: testPool.schema, features })
    pooler = await pgbouncer(testPool.url)
    pooled = new pg.Pool({ connectionString: pooler.url, max: 8 })
    pooled.on('error', () => {})
  })
  afterAll(async () => {
    await pooled.end()
    await pooler.dispose()
    await testPool.dispose()
  })
  return () => ({ pool: testPool.pool, schema: testPool.schema, pooled })
}
