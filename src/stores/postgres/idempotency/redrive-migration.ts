import type { Migration } from '../migration.ts'

export const redriveMigration: Migration = {
  version: 3,
  name: 'redrive',
  feature: 'idempotency',
  // A constant default: PostgreSQL notes it in the catalogue and rewrites no row.
  sql: (schema) => `
-- Which redrive claimed the key last, 0 for none: a failed key is claimed again by a newer one.
alter table ${schema}.idempotency add column generation bigint not null default 0;`,
  undo: (schema) => `
alter table ${schema}.idempotency drop column generation;`,
}
