import type { Migration } from '../migration.ts'
import { outboxSchema } from './schema.ts'

export const outboxMigration: Migration = {
  version: 2,
  name: 'outbox',
  sql: (schema, { outbox }) => outboxSchema(schema, outbox),
}
