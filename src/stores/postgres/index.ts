export { postgresIdempotencyStore, type PostgresIdempotencyStoreOptions } from './idempotency-store.ts'
export { migrate, migrationPlan, type MigrateOptions } from './migrate.ts'
export { type PoolClientSlice, type PoolSlice, type Queryable, type QueryAnswer } from './queryable.ts'
