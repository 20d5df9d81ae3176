import { badOption, requireCount } from '../../../core/options.ts'

/** The layout of the outbox tables. It is fixed when they are made. */
export interface OutboxLayout {
  /** Number of shards, and so of relays that can publish in parallel. Keys are spread over the shards. @defaultValue 4 */
  readonly shards?: number
  /** How long each of the three partitions takes new rows, in seconds. @defaultValue 60 */
  readonly slotSeconds?: number
}

/** Refuses numbers of shards that the tables cannot hold. */
export function requireShards(where: string, shards: number): void {
  if (!Number.isSafeInteger(shards) || shards < 1 || shards > 32_767)
    throw badOption(where, 'shards', 'an integer from 1 to 32767', shards)
}

/** Refuses layouts that make no sense, naming option and value. */
export function requireLayout(where: string, { shards, slotSeconds }: OutboxLayout): void {
  if (shards !== undefined) requireShards(where, shards)
  requireCount(where, { slotSeconds })
}

/** What `outbox_version()` answers for the tables below. */
export const outboxVersion = 1

/**
 * The outbox in one schema, which is given quoted. It needs no more than `create` on that schema.
 *
 * - `outbox` is append-only. `slot` comes from the clock, so that whole partitions can be truncated; nothing depends on
 *   the clock being right. `now()` rather than `clock_timestamp()`: a long transaction then holds up one slot only.
 * - `shard` is generated from the key, so that no writer can get it wrong.
 * - `outbox_shard.snapshot` says what a shard has read: everything visible in it. The `win_` columns hold a window that
 *   is larger than a page while it is being published.
 * - `cluster` and `source` bind all that to this very table in this very server: see `outbox_cluster()`.
 */
export function outboxSchema(schema: string, { shards = 4, slotSeconds = 60 }: OutboxLayout = {}): string {
  return `
create function ${schema}.outbox_version() returns int language sql immutable parallel safe as 'select ${outboxVersion}';
${shardCount(schema, shards)}
create function ${schema}.outbox_slot() returns smallint language sql stable parallel safe as
  $$select ${slotNow(slotSeconds)}$$;

create sequence ${schema}.outbox_id cache 1;
create table ${schema}.outbox (
  slot smallint not null default ${slotNow(slotSeconds)},
  ${shardColumn(shards)},
  txid xid8 not null default pg_current_xact_id(),
  id bigint not null default nextval('${schema}.outbox_id'),
  topic text not null, key text, type text not null, message_id text not null,
  headers jsonb, payload bytea,
  created_at timestamptz not null default clock_timestamp()
) partition by list (slot);
${[0, 1, 2].map((slot) => partition(schema, slot)).join('\n')}
${indexes(schema)}

-- A restored dump, a copied database and an upgraded server all differ here from what the shards remember.
create function ${schema}.outbox_cluster() returns text language sql stable as
  $$select system_identifier || '/' || (select oid from pg_catalog.pg_database where datname = current_database())
    || '/' || '${schema}.outbox'::regclass::oid from pg_control_system()$$;
-- A promoted replica has another timeline. On a standby this is an error.
create function ${schema}.outbox_timeline() returns text language sql volatile as
  'select left(pg_walfile_name(pg_current_wal_lsn()), 8)';

create table ${schema}.outbox_shard (
  shard smallint primary key,
  cluster text not null, source text not null default gen_random_uuid(),
  owner text, epoch bigint not null default 0, lease_until timestamptz not null default '-infinity',
  snapshot pg_snapshot not null, win_to pg_snapshot, win_pos bigint, win_end bigint
) with (fillfactor = 50);
insert into ${schema}.outbox_shard (shard, cluster, snapshot)
  select n, ${schema}.outbox_cluster(), pg_current_snapshot() from generate_series(0, ${shards - 1}) n;
create table ${schema}.outbox_relay (
  owner text primary key, seen_until timestamptz not null
) with (fillfactor = 50);

create table ${schema}.outbox_dead (
  id bigint primary key,
  topic text not null, key text, type text not null, message_id text not null,
  headers jsonb, payload bytea, created_at timestamptz not null,
  error text not null, died_at timestamptz not null default clock_timestamp()
);
create table ${schema}.outbox_delayed (
  ${shardColumn(shards)},
  due_at timestamptz not null, seq bigint not null default nextval('${schema}.outbox_id'),
  topic text not null, key text, type text not null, message_id text not null,
  headers jsonb, payload bytea,
  primary key (shard, due_at, seq)
);
create table ${schema}.outbox_mark (
  scope text not null, destination text not null, source text not null, key text not null,
  timeline bigint not null, id bigint not null, marked_at timestamptz not null,
  primary key (scope, destination, source, key)
);
`
}

/** Takes all of it away, with every message in it. */
export function outboxDrop(schema: string): string {
  const tables = ['outbox', 'outbox_shard', 'outbox_relay', 'outbox_dead', 'outbox_delayed', 'outbox_mark']
  const functions = ['version', 'shards', 'slot', 'cluster', 'timeline']
  return `
drop table ${tables.map((table) => `${schema}.${table}`).join(', ')};
drop function ${functions.map((name) => `${schema}.outbox_${name}()`).join(', ')};
drop sequence ${schema}.outbox_id;`
}

/**
 * A key without the generated column: from PostgreSQL 18 on, rows cannot be deleted under a publication of all tables
 * where the key has one that is not published. The messages are also found by their ids, to be cancelled.
 */
export function delayedKey(schema: string): string {
  return `
alter table ${schema}.outbox_delayed drop constraint outbox_delayed_pkey;
alter table ${schema}.outbox_delayed add constraint outbox_delayed_pkey primary key (due_at, seq);
create index outbox_delayed_due on ${schema}.outbox_delayed (shard, due_at, seq);
create index outbox_delayed_id on ${schema}.outbox_delayed (message_id);`
}

export function delayedKeyUndo(schema: string): string {
  return `
drop index ${schema}.outbox_delayed_due, ${schema}.outbox_delayed_id;
alter table ${schema}.outbox_delayed drop constraint outbox_delayed_pkey;
alter table ${schema}.outbox_delayed add constraint outbox_delayed_pkey primary key (shard, due_at, seq);`
}

/** The numbers that a shard has used, and the position that they belong to: JSON, read by relays that number alone. */
export function shardSequence(schema: string): string {
  return `
alter table ${schema}.outbox_shard add column sequence text;`
}

export function shardSequenceUndo(schema: string): string {
  return `
alter table ${schema}.outbox_shard drop column sequence;`
}

/**
 * Another number of shards, for an outbox that has no unread message: PostgreSQL 15 can not change what a column is
 * generated from, so it is made anew, and with it the shards of what is delayed.
 */
export function shardChange(schema: string, shards: number): string {
  return `${shardCount(schema, shards)}
truncate ${schema}.outbox;
alter table ${schema}.outbox drop column shard;
alter table ${schema}.outbox add column ${shardColumn(shards)};
${indexes(schema)}
alter table ${schema}.outbox_delayed drop column shard;
alter table ${schema}.outbox_delayed add column ${shardColumn(shards)};
create index outbox_delayed_due on ${schema}.outbox_delayed (shard, due_at, seq);`
}

function shardCount(schema: string, shards: number): string {
  return `create or replace function ${schema}.outbox_shards() returns int
  language sql immutable parallel safe as 'select ${shards}';`
}

// Both are written out in the table, not functions: PostgreSQL reads the text of a function anew for every INSERT, which
// made an INSERT a third dearer.
function slotNow(slotSeconds: number): string {
  return `(date_part('epoch', now())::bigint / ${slotSeconds} % 3)::smallint`
}

function shardColumn(shards: number): string {
  const hash = 'hashtextextended(coalesce(key, message_id) collate "C", 0)'
  return `shard smallint not null generated always as (((${hash} & 9223372036854775807) % ${shards})::smallint) stored`
}

function indexes(schema: string): string {
  return `create index outbox_new on ${schema}.outbox (shard, txid);
create index outbox_order on ${schema}.outbox (shard, id);`
}

/** Nothing in a partition is updated or deleted, and it is truncated before there is anything to freeze. */
function partition(schema: string, slot: number): string {
  return `create table ${schema}.outbox_${slot} partition of ${schema}.outbox for values in (${slot})
  with (autovacuum_enabled = off, toast.autovacuum_enabled = off);`
}
