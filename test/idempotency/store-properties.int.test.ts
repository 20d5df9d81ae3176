import fc from 'fast-check'
import { Redis } from 'ioredis'
import { expect, it } from 'vitest'
import { migrate, postgresIdempotencyStore } from '../../src/stores/postgres/index.ts'
import { redisIdempotencyStore } from '../../src/stores/redis/index.ts'
import { describeWith, redisUrl, uniqueName } from '../support/services.ts'
import { ageLease } from '../support/redis-lease.ts'
import { createTestPool } from '../support/test-pool.ts'
import { firstBreach, operations, perform, performInMemory, retainMs } from './store-properties.ts'

// Time is not waited for: everything that is stored is made that much older.

let rounds = 0
const law = { numRuns: 200 }

describeWith(['postgres'], 'the PostgreSQL store, whatever is asked of it', () => {
  it('answers as the memory store does', async () => {
    const { pool, schema, dispose } = await createTestPool({ max: 2 })
    await migrate(pool, { schema })
    const store = postgresIdempotencyStore(pool, { schema })
    const wait = async (ms: number) => {
      await pool.query(
        `update ${schema}.idempotency set lease_until = lease_until - $1 * interval '1 ms',
         retain_until = retain_until - $1 * interval '1 ms'`,
        [ms],
      )
    }
    await fc.assert(
      fc.asyncProperty(operations, async (todo) => {
        const done = await perform(store, `round-${rounds++}`, wait, todo)
        expect(firstBreach(done)).toBeUndefined()
        expect(done).toEqual(await performInMemory(todo))
      }),
      law,
    )
    await dispose()
  })
})

describeWith(['redis'], 'the Redis store, whatever is asked of it', () => {
  it('answers as the memory store does', async () => {
    const redis = new Redis(redisUrl())
    const prefix = uniqueName('test')
    const store = redisIdempotencyStore(redis, { prefix, forgetMs: 10 * retainMs })
    let names: readonly string[] = []
    const wait = async (ms: number) => {
      for (const name of names) {
        await ageLease(redis, name, ms)
        await redis.pexpire(name, (await redis.pttl(name)) - ms)
      }
    }
    await fc.assert(
      fc.asyncProperty(operations, async (todo) => {
        const scope = `round-${rounds++}`
        names = ['key-0', 'key-1', 'key-2'].map((key) => `${prefix}:${scope.length}:${scope}:${key}`)
        const done = await perform(store, scope, wait, todo)
        expect(firstBreach(done)).toBeUndefined()
        expect(done).toEqual(await performInMemory(todo))
      }),
      law,
    )
    redis.disconnect()
  })
})
