import type { Migration } from '../migration.ts'

export const circuitsMigration: Migration = {
  version: 7,
  name: 'circuits',
  feature: 'circuits',
  sql: (schema) => `
create table ${schema}.circuit (
  name text collate "C" primary key,
  state text not null default 'closed' check (state in ('closed', 'open', 'half-open')),
  -- The number of this state: the clock in microseconds, and always above the one before.
  epoch bigint not null default 0,
  -- Until when it is open, or until when the lease of its probe lasts. Never -infinity: PostgreSQL 15 cannot subtract it.
  until timestamptz not null default 'epoch',
  -- Which process probes, and which of its requests was granted that.
  prober text,
  grant_id text,
  -- How long it is open next.
  window_ms float8 not null default 0,
  -- Since when it is closed or open.
  since timestamptz not null default 'epoch'
) with (fillfactor = 50);

-- What each process saw last. Lost with a crash of the server, and written anew within one beat.
create unlogged table ${schema}.circuit_voter (
  name text collate "C" not null,
  owner text collate "C" not null,
  vote text not null,
  bad integer not null,
  bad_since timestamptz not null,
  answered_at timestamptz not null,
  until timestamptz not null,
  primary key (name, owner)
) with (fillfactor = 50);`,
  undo: (schema) => `
drop table ${schema}.circuit_voter;
drop table ${schema}.circuit;`,
}
