import { Redis } from 'ioredis'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { redisIdempotencyStore } from '../../src/stores/redis/index.ts'
import type { Ledger } from './ledger.ts'
import { uniqueName } from './unique-name.ts'

export interface RedisWorkloadOptions {
  readonly url: string
  readonly ledger: Ledger
  /** @defaultValue 10_000 */
  readonly leaseMs?: number
}

export interface RedisWorkload {
  /** How many of these keys the server knows, in whatever state. */
  remembered(ids: readonly string[], url: string): Promise<number>
  deliver(id: string): Promise<unknown>
  dispose(): Promise<void>
}

/** Claims in Redis, and effects that are in no transaction with them. */
export function redisWorkload({ url, ledger, leaseMs = 10_000 }: RedisWorkloadOptions): RedisWorkload {
  const redis = new Redis(url, { maxRetriesPerRequest: 1, retryStrategy: (times) => Math.min(times * 20, 200) })
  redis.on('error', () => {})
  const prefix = uniqueName('chaos')
  const orders = pipeline('orders')
    .use(idempotency({ store: redisIdempotencyStore(redis, { prefix }), leaseMs }))
    .handle(async ({ message }) => {
      await ledger.effect(ledger.pool, message.id)
    })
  async function forget(): Promise<void> {
    const keys = redis.scanStream({ match: `${prefix}:*`, count: 1000 })
    for await (const found of keys as AsyncIterable<string[]>) if (found.length > 0) await redis.unlink(found)
  }
  return {
    async remembered(ids, at) {
      const direct = new Redis(at)
      const known = await direct.exists(ids.map((id) => `${prefix}:6:orders:${id}`))
      direct.disconnect()
      return known
    },
    deliver: (id) => orders.dispatch({ message: { id, body: Buffer.from(id) } }),
    dispose: async () => {
      // Where the run failed the server may be gone; its own error must not be hidden by one of ours.
      await forget().catch(() => {})
      redis.disconnect()
    },
  }
}
