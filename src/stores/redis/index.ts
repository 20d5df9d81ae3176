export {
  redisIdempotencyStore,
  type RedisIdempotencyStore,
  type RedisIdempotencyStoreOptions,
  type RedisSlice,
} from './idempotency-store.ts'
export { redisCircuits, type RedisCircuitsOptions, type RedisScripts } from './circuits.ts'
export { redisLimits, type RedisLimitsOptions } from './limits.ts'
