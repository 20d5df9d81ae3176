export {
  postgresIdempotencyCleaner,
  type PostgresIdempotencyCleaner,
  type PostgresIdempotencyCleanerOptions,
} from './idempotency/cleaner.ts'
export { postgresOldestKey, type PostgresOldestKeyOptions } from './idempotency/oldest-key.ts'
export { postgresIdempotencyStore, type PostgresIdempotencyStoreOptions } from './idempotency/store.ts'
export { migrate, type MigrateOptions } from './migrate.ts'
export { migrationPlan, migrationUndo, type MigrationPlanOptions, type MigrationUndoOptions } from './migration-plan.ts'
export { type SchemaFeature } from './migration.ts'
export { type PoolClientSlice, type PoolSlice, type Queryable, type QueryAnswer } from './queryable.ts'
export { inOneTransaction } from './in-one-transaction.ts'
export { inTransaction, type Begin, type InTransactionOptions } from './in-transaction.ts'
export {
  postgresjsRunner,
  preparedRunner,
  type DrizzleSlice,
  type KyselySlice,
  type NamedQueryable,
  type PostgresjsSlice,
} from './runners.ts'
export {
  drizzleTransaction,
  kyselyTransaction,
  postgresjsTransaction,
  transaction,
  type TransactionMiddleware,
  type TransactionOptions,
} from './transaction.ts'
export {
  postgresOutboxDelayed,
  type DelayedFilter,
  type DelayedMessage,
  type DelayedPage,
  type OutboxDelayed,
} from './outbox/delayed.ts'
export { postgresOutboxDead, type DeadMessage, type OutboxDead } from './outbox/dead.ts'
export { postgresSequenceStore, type PostgresSequenceStore, type PostgresSequenceStoreOptions } from './outbox/marks.ts'
export {
  adoptOutbox,
  changeOutboxShards,
  type Adopted,
  type AdoptOptions,
  type ChangeShardsOptions,
} from './outbox/operations.ts'
export { outboxGrants, type OutboxGrants } from './outbox/grants.ts'
export { type OutboxLayout } from './outbox/schema.ts'
export { postgresOutboxStore, type PostgresOutboxStoreOptions } from './outbox/store.ts'
export {
  postgresOutboxListener,
  postgresOutboxNotifier,
  type ListeningClientSlice,
  type PostgresOutboxListener,
  type PostgresOutboxListenerOptions,
  type PostgresOutboxNotifier,
  type PostgresOutboxNotifierOptions,
} from './outbox/wake-up.ts'
export {
  viaDrizzle,
  viaKnex,
  viaKysely,
  viaPostgresJs,
  viaPrepared,
  viaPrisma,
  viaQuery,
  type DrizzleTransactionSlice,
  type KnexSlice,
  type NoPool,
  type OutboxValue,
  type PostgresJsSlice,
  type PreparingRunner,
  type PrismaTransactionSlice,
  type QueryRunner,
  type Template,
  type Via,
} from './outbox/via.ts'
export { postgresOutbox, type PostgresOutboxOptions } from './outbox/outbox.ts'
export {
  postgresDeadLetters,
  type PostgresDeadLetters,
  type PostgresDeadLettersOptions,
} from './dead-letter/dead-letters.ts'
export { type BodyEncryption } from './dead-letter/bodies.ts'
export { postgresOperatorStore, type PostgresOperatorStoreOptions } from './operations/store.ts'
export { postgresChecks, type PostgresChecksOptions } from './operations/doctor.ts'
export { postgresCircuits, type PostgresCircuitsOptions } from './circuits/circuits.ts'
export { postgresLimits, type PostgresLimitsOptions } from './limits/limits.ts'
