import type { Migration } from '../migration.ts'

export const deadLetterMigration: Migration = {
  version: 4,
  name: 'dead-letters',
  feature: 'dead-letter',
  sql: (schema) => `
create table ${schema}.dead_letter (
  -- The operator's handle, and the order of first deaths.
  id bigint generated always as identity primary key,
  -- What makes it the same letter: a digest of pipeline, destination, message id, key and body.
  fold uuid not null,
  state text collate "C" not null default 'dead' check (state in ('dead', 'redriving', 'resolved', 'replaced', 'dropped')),
  -- Sent last. And the newest whose end is known. Drawn from the fence, so that none is given twice.
  generation bigint not null default 0,
  settled bigint not null default 0,
  redrives integer not null default 0,
  deaths integer not null default 1,
  attempts integer not null,
  -- What a message brings is kept, not refused: positions are text, times are numbers, names are in byte order.
  pipeline text collate "C" not null,
  system text collate "C" not null,
  destination text collate "C" not null,
  partition text collate "C",
  position text collate "C",
  origin_group text collate "C",
  message_id text collate "C" not null,
  key text collate "C",
  type text collate "C" not null,
  produced_ms float8 not null,
  -- Id, key and type as they were, where the columns cannot hold them.
  exact bytea,
  -- JSON pairs in bytes: jsonb holds no NUL.
  headers bytea,
  body bytea,
  body_key text collate "C",
  reason text collate "C" not null,
  error_name text not null,
  error_code text,
  error_message text not null,
  error_stack text,
  history bytea,
  fingerprint text collate "C" not null,
  trace_id text collate "C",
  subject text collate "C",
  claim_scope text collate "C",
  claim_key text collate "C",
  -- Emptied for good by erase(): never restored.
  body_erased_at timestamptz,
  replaces bigint,
  replaced_by bigint,
  first_at timestamptz not null default clock_timestamp(),
  dead_at timestamptz not null default clock_timestamp(),
  changed_at timestamptz not null default clock_timestamp()
) with (fillfactor = 85);

create unique index dead_letter_fold on ${schema}.dead_letter (fold);
create index dead_letter_newest on ${schema}.dead_letter (dead_at, id) where state in ('dead', 'redriving');
create index dead_letter_pipeline on ${schema}.dead_letter (pipeline, dead_at, id) where state in ('dead', 'redriving');
create index dead_letter_group on ${schema}.dead_letter (fingerprint, pipeline, dead_at, id)
  where state in ('dead', 'redriving');
create index dead_letter_reason on ${schema}.dead_letter (reason, dead_at, id) where state in ('dead', 'redriving');
-- Few, and looked for by every worker: those whose end is not known.
create index dead_letter_redriving on ${schema}.dead_letter (id) where state = 'redriving';
create index dead_letter_final on ${schema}.dead_letter (state, dead_at, id)
  where state in ('resolved', 'replaced', 'dropped');
-- By hash: a key or an id may be longer than an index row. With the order of a list behind it: one key may have very many
-- letters, of which a page is asked. Of a partial index of expressions PostgreSQL knows no statistics: without that order
-- it walks through all letters from the newest on.
create index dead_letter_key on ${schema}.dead_letter (hashtextextended(key, 0), dead_at, id) where key is not null;
create index dead_letter_message on ${schema}.dead_letter (hashtextextended(message_id, 0), id);
create index dead_letter_trace on ${schema}.dead_letter (trace_id) where trace_id is not null;
create index dead_letter_subject on ${schema}.dead_letter (hashtextextended(subject, 0), dead_at, id)
  where subject is not null;
create index dead_letter_over on ${schema}.dead_letter (changed_at) where state in ('resolved', 'replaced', 'dropped');

create table ${schema}.redrive (
  id bigint generated always as identity primary key,
  state text not null default 'running' check (state in ('running', 'paused', 'cancelled', 'done')),
  route text not null check (route in ('pipeline', 'destination')),
  by text not null,
  filter jsonb not null,
  per_second float8,
  canary integer,
  -- The last letter of the canary. Null where there is none, or once it is over.
  canary_to bigint,
  max_redrives integer not null,
  total integer not null,
  -- The fleet's bucket: when the next letter may be sent.
  next_at timestamptz not null default '-infinity',
  created_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz
);
create index redrive_active on ${schema}.redrive (id) where state = 'running';

-- One key of one pipeline within a redrive, leased by one worker at a time.
create table ${schema}.redrive_lane (
  redrive bigint not null references ${schema}.redrive on delete cascade,
  lane bigint not null,
  pipeline text collate "C" not null,
  -- When it is due, or its lease ends. 'infinity': over, or not part of the canary.
  next_at timestamptz not null default '-infinity',
  token bigint,
  owner text,
  primary key (redrive, lane)
) with (fillfactor = 70);
create index redrive_lane_due on ${schema}.redrive_lane (redrive, next_at, lane);

create table ${schema}.redrive_item (
  redrive bigint not null references ${schema}.redrive on delete cascade,
  lane bigint not null,
  letter bigint not null,
  generation bigint,
  result text check (result in ('resolved', 'sent', 'dead', 'guarded', 'skipped', 'cancelled')),
  primary key (redrive, lane, letter)
) with (fillfactor = 70);
-- A letter is in one redrive at a time.
create unique index redrive_item_open on ${schema}.redrive_item (letter) where result is null;
create index redrive_item_letter on ${schema}.redrive_item (letter);

create table ${schema}.operator_log (
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  by text not null,
  act text not null,
  letter bigint,
  redrive bigint,
  detail jsonb
);
create index operator_log_letter on ${schema}.operator_log (letter) where letter is not null;

-- What happened to messages, where a service writes it down: failures, or everything.
create table ${schema}.journal (
  id bigint generated always as identity primary key,
  at timestamptz not null,
  message_id text collate "C" not null,
  pipeline text collate "C" not null,
  what text collate "C" not null,
  attempt integer not null,
  detail text
);
create index journal_message on ${schema}.journal (hashtextextended(message_id, 0));
create index journal_at on ${schema}.journal (at);`,
  undo: (schema) => `
drop table ${['dead_letter', 'redrive', 'redrive_lane', 'redrive_item', 'operator_log', 'journal'].map((table) => `${schema}.${table}`).join(', ')};`,
}
