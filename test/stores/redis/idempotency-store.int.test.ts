import { Redis } from 'ioredis'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { redisIdempotencyStore } from '../../../src/stores/redis/index.ts'
import { idempotencyStoreContract } from '../../../src/testing/idempotency-store-contract.ts'
import { faultProxy, through } from '../../support/fault-proxy.ts'
import { privateRedis } from '../../support/private-servers.ts'
import { describeWith, redisUrl, uniqueName } from '../../support/services.ts'

const contract = (title: string, options: { readonly maxBatch?: number; readonly isCluster?: boolean }) =>
  describeWith(['redis'], `the idempotency store contract, in Redis, ${title}`, () => {
    const create = () => {
      const redis = new Redis(redisUrl())
      if (options.isCluster === true) redis.isCluster = true
      const prefix = uniqueName('test')
      return {
        store: redisIdempotencyStore(redis, { prefix, ...options }),
        advance: (ms: number) => sleep(ms),
        dispose: async () => {
          const keys = await redis.keys(`${prefix}:*`)
          if (keys.length > 0) await redis.del(...keys)
          redis.disconnect()
        },
      }
    }
    for (const { name, run } of idempotencyStoreContract(create)) it(name, run)
  })
contract('batched', {})
contract('in small batches', { maxBatch: 3 })
contract('as on a cluster', { isCluster: true })
void [expect, faultProxy, through, privateRedis]
