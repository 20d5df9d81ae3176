import type { Migration } from '../migration.ts'

export const limitsMigration: Migration = {
  version: 9,
  name: 'limits',
  feature: 'limits',
  sql: (schema) => `
-- Lost with a crash of the server: a bucket is full then, and processes tell of their places again within one beat.
create unlogged table ${schema}.limit_rate (
  name text collate "C" primary key,
  -- When the bucket is full again, in microseconds since 1970. Each token moves it by one gap.
  full_us float8 not null default 0,
  -- What the last request was told: how many tokens, and in how many microseconds the first is good.
  taken integer not null default 0,
  wait_us float8 not null default 0
) with (fillfactor = 50);

create unlogged table ${schema}.limit_places (
  name text collate "C" primary key,
  -- For each process: the places that it keeps, how many it wants, and when its lease ends, in ms since 1970.
  lines jsonb not null default '{}',
  -- What the last request was told.
  granted integer not null default 0,
  until timestamptz not null default 'epoch'
) with (fillfactor = 50);`,
  undo: (schema) => `
drop table ${schema}.limit_places;
drop table ${schema}.limit_rate;`,
}
