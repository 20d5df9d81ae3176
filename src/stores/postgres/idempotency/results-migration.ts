import type { Migration } from '../migration.ts'

export const resultsMigration: Migration = {
  version: 10,
  name: 'results',
  feature: 'idempotency',
  // No defaults: PostgreSQL notes the columns in the catalogue and rewrites no row.
  sql: (schema) => `
-- What the handler of the claim with this token returned, for callers that ask again. Of an earlier claim it counts no more.
alter table ${schema}.idempotency add column result bytea, add column result_token bigint;`,
  undo: (schema) => `
alter table ${schema}.idempotency drop column result, drop column result_token;`,
}
