import { circuitsMigration } from './circuits/migration.ts'
import { deadLetterMigration } from './dead-letter/migration.ts'
import { idempotencyMigration } from './idempotency/migration.ts'
import { redriveMigration } from './idempotency/redrive-migration.ts'
import { resultsMigration } from './idempotency/results-migration.ts'
import type { Migration } from './migration.ts'
import { limitsMigration } from './limits/migration.ts'
import { delayedKeyMigration, outboxMigration, shardSequenceMigration } from './outbox/migration.ts'
import { parkingMigration } from './parking/migration.ts'

/** Every step of the schema, oldest first. New steps are added at the end; released ones stay as they are. */
export const migrations: readonly Migration[] = [
  idempotencyMigration,
  outboxMigration,
  redriveMigration,
  deadLetterMigration,
  delayedKeyMigration,
  circuitsMigration,
  parkingMigration,
  limitsMigration,
  resultsMigration,
  shardSequenceMigration,
]
