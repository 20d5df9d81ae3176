import type { Migration } from '../migration.ts'

export const parkingMigration: Migration = {
  version: 8,
  name: 'parking',
  feature: 'idempotency',
  sql: (schema) => `
-- A key of a pipeline behind whose first message the others wait.
create table ${schema}.parked_lane (
  -- Byte order, as in the claims.
  pipeline text collate "C" not null,
  lane text collate "C" not null,
  -- Every park and every append moves it: a lane ends only at the tail that was read as empty.
  tail bigint not null,
  -- When it is due, or when its holder's lease ends. Infinity: blocked until an operator acts.
  next_at timestamptz not null,
  -- Who holds it, drawn from the fence.
  token bigint,
  owner text,
  parked_at timestamptz not null default clock_timestamp(),
  primary key (pipeline, lane)
) with (fillfactor = 70);

create index parked_lane_due on ${schema}.parked_lane (pipeline, next_at);

create table ${schema}.parked (
  pipeline text collate "C" not null,
  lane text collate "C" not null,
  seq bigint not null,
  -- The claim under which it is handled: it is parked once.
  scope text collate "C" not null,
  claim_key text collate "C" not null,
  generation bigint not null default 0,
  fingerprint text,
  attempts integer not null default 0,
  -- For people to read. What is exact stands in the envelope: id, type, key, time, headers and origin, in bytes, which refuse nothing.
  key_text text not null,
  envelope bytea not null,
  body bytea,
  error text,
  parked_at timestamptz not null default clock_timestamp(),
  -- When its first run in the lane ended in another wait.
  tried_at timestamptz,
  primary key (pipeline, lane, seq),
  unique (scope, claim_key),
  constraint parked_in_lane foreign key (pipeline, lane) references ${schema}.parked_lane
);`,
  undo: (schema) => `
drop table ${schema}.parked;
drop table ${schema}.parked_lane;`,
}
