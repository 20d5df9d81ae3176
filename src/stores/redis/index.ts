export {
  redisIdempotencyStore,
  type RedisIdempotencyStore,
  type RedisIdempotencyStoreOptions,
  type RedisSlice,
} from './idempotency-store.ts'
