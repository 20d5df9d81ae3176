import type { Migration } from '../migration.ts'

export const idempotencyMigration: Migration = {
  version: 1,
  name: 'idempotency',
  feature: 'idempotency',
  sql: (schema) => `
-- The fence: one sequence for all keys, so that the token of a later claim is always the higher one.
create sequence ${schema}.fence as bigint cache 1;

create table ${schema}.idempotency (
  -- Byte order: keys are compared for equality alone, and a glibc update cannot corrupt the index.
  scope text collate "C" not null,
  key text collate "C" not null,
  state text not null check (state in ('in-progress', 'completed', 'failed', 'released')),
  token bigint not null,
  attempts integer not null,
  -- While in progress: who claimed, and until when. Released: when that was.
  owner text,
  lease_until timestamptz,
  -- Completed and failed: how long that is remembered.
  retain_until timestamptz,
  fingerprint text,
  failure jsonb,
  -- The clean-up's index is on the day a key was first seen, which no completion or renewal changes, and a page keeps
  -- room for as much again as it holds: so those are heap-only updates, and write no index.
  added_on date not null default (clock_timestamp() at time zone 'utc')::date,
  primary key (scope, key)
) with (fillfactor = 50);

create index idempotency_added_on on ${schema}.idempotency (added_on);`,
  undo: (schema) => `
drop table ${schema}.idempotency;
drop sequence ${schema}.fence;`,
}
