import type { Migration } from '../migration.ts'
import { delayedKey, delayedKeyUndo, outboxDrop, outboxSchema, shardSequence, shardSequenceUndo } from './schema.ts'

export const outboxMigration: Migration = {
  version: 2,
  name: 'outbox',
  feature: 'outbox',
  sql: (schema, { outbox }) => outboxSchema(schema, outbox),
  undo: outboxDrop,
}

export const delayedKeyMigration: Migration = {
  version: 5,
  name: 'outbox-delayed-key',
  feature: 'outbox',
  sql: delayedKey,
  undo: delayedKeyUndo,
}

export const shardSequenceMigration: Migration = {
  version: 11,
  name: 'outbox-sequence',
  feature: 'outbox',
  sql: shardSequence,
  undo: shardSequenceUndo,
}
