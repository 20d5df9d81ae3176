import { Redis } from 'ioredis'
import { redisIdempotencyStore } from 'holdfast/redis'
import { addressOf } from '../../services.ts'
import type { Keys } from '../backend.ts'
import { unreachable } from './unreachable.ts'

export async function redisKeys(address: string | true): Promise<Keys> {
  const url = address === true ? await addressOf('redis') : address
  const redis = new Redis(url, { lazyConnect: true, connectTimeout: 5_000 })
  // What goes wrong later reaches the sender of a command.
  redis.on('error', () => {})
  await redis.connect().catch((error: unknown) => {
    redis.disconnect()
    unreachable('Redis', 'redis', url, error)
  })
  return { store: redisIdempotencyStore(redis), closeKeys: async () => void (await redis.quit()) }
}
