import { Redis } from 'ioredis'
import { expect, it } from 'vitest'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import type { IdempotencyStore } from '../../src/idempotency/store.ts'
import { migrate, postgresIdempotencyStore } from '../../src/stores/postgres/index.ts'
import { redisIdempotencyStore } from '../../src/stores/redis/index.ts'
import { describeWith, redisUrl, uniqueName } from '../support/services.ts'
import { ageLease } from '../support/redis-lease.ts'
import { createTestPool } from '../support/test-pool.ts'
import { breach, interleavings, play, type Answered, type Turn } from './interleavings.ts'

const leaseMs = 60_000
const olderMs = leaseMs + 1

const all = [...interleavings(2, 4)]

async function inMemory(turns: readonly Turn[]): Promise<readonly Answered[]> {
  let nowMs = 0
  const store = memoryIdempotencyStore({ clock: { now: () => nowMs, wall: () => nowMs, after: () => () => undefined } })
  return play(store, turns, { key: 'k', leaseMs, leaseEnds: async () => void (nowMs += olderMs) })
}

/** Time is not waited for: the lease of the key is made that much older. */
async function replay(
  store: IdempotencyStore,
  age: (key: string) => Promise<unknown>,
  forget: () => Promise<unknown> = async () => {},
): Promise<void> {
  for (const [index, turns] of all.entries()) {
    const key = `k${index}`
    const leaseEnds = async () => void (await age(key))
    const answers = await play(store, turns, { key, leaseMs, leaseEnds })
    expect(breach(answers)).toBeUndefined()
    expect(answers).toEqual(await inMemory(turns))
    await forget()
  }
  console.log(`${all.length} interleavings replayed`)
}

describeWith(['postgres'], 'every interleaving of two owners, four calls deep, on PostgreSQL', () => {
  it('is answered as in memory', { timeout: 120_000 }, async () => {
    const { pool, schema, dispose } = await createTestPool({ max: 2 })
    await migrate(pool, { schema })
    const aged = `update ${schema}.idempotency set lease_until = lease_until - $1 * interval '1 ms' where key = $2`
    await replay(postgresIdempotencyStore(pool, { schema }), (key) => pool.query(aged, [olderMs, key]))
    await dispose()
  })
})

describeWith(['redis'], 'every interleaving of two owners, four calls deep, on Redis', () => {
  it('is answered as in memory', { timeout: 120_000 }, async () => {
    const redis = new Redis(redisUrl())
    const prefix = uniqueName('interleaved')
    const names = () => redis.keys(`${prefix}:*`)
    const age = async () => {
      for (const name of await names()) await ageLease(redis, name, olderMs)
    }
    // `KEYS` looks at every key there is.
    const forget = async () => redis.del('none', ...(await names()))
    await replay(redisIdempotencyStore(redis, { prefix }), age, forget)
    redis.disconnect()
  })
})
