/** Every statement of a relay. */
export interface OutboxStatements {
  readonly attend: string
  readonly leave: string
  readonly claim: string
  readonly open: string
  readonly span: string
  readonly page: string
  readonly advance: string
  readonly renew: string
  readonly release: string
  readonly due: string
  readonly lockMoving: string
  readonly moveDue: string
  readonly flushed: string
  readonly slots: string
  readonly lockSlot: (slot: number) => string
  readonly busy: (slot: number) => string
  readonly unread: string
  readonly truncateSlot: (slot: number) => string
  readonly status: string
}

// Casts keep the answer the same under all type parsers of the driver.
const columns = 'id, topic, key, type, message_id, headers, payload, created_at'
const none = 'null::text as id, null::text as topic, null::text as key, null::text as type, null::text as message_id'
// As text, bytea is hex: half as much again on the wire, and slower to read. The line breaks are skipped by the reader.
const base64 = "encode(payload, 'base64')"
// Not `extract`, which goes through numeric.
const timeMs = "date_part('epoch', created_at) * 1000"
const now = "date_part('epoch', clock_timestamp()) * 1000 as now_ms"

/** For one schema, which is given quoted. Without `sequences`, a schema that was not migrated yet does too. */
export function outboxStatements(
  schema: string,
  { sequences = false }: { readonly sequences?: boolean } = {},
): OutboxStatements {
  const outbox = `${schema}.outbox`
  const shard = `${schema}.outbox_shard`
  const cluster = `(select ${schema}.outbox_cluster())`
  const position = 'snapshot::text, win_to::text, win_pos::text, win_end::text'

  const unreadIn = (table: string): string => `exists (select from ${shard} s, lateral (
    (select 1 from ${table} p where p.shard = s.shard and p.txid >= pg_snapshot_xmax(s.snapshot) limit 1)
    union all (select 1 from ${table} p
      where p.shard = s.shard and p.txid = any(array(select pg_snapshot_xip(s.snapshot))) limit 1)) x)`

  // The place may be taken: by the same message, published again after adopting, or in a copy by any other.
  const unusedDeadId = `case when exists (select from ${schema}.outbox_dead d
    where d.id = o.id and (d.topic, d.message_id) <> (o.topic, o.message_id))
    then nextval('${schema}.outbox_id') else o.id end`

  return {
    /** The relays there are, and the place of this one among them; those that are gone are forgotten. */
    attend: `with me as (
  insert into ${schema}.outbox_relay as r (owner, seen_until) values ($1, clock_timestamp() + $2 * interval '1 ms')
  on conflict (owner) do update set seen_until = excluded.seen_until),
gone as (delete from ${schema}.outbox_relay where owner <> $1 and seen_until < clock_timestamp() - interval '1 minute')
select (select count(*) from ${shard})::int as shards, ${schema}.outbox_shards() as wanted,
  (select count(*) from ${shard} where cluster <> ${cluster})::int as strangers,
  (select count(*) from ${schema}.outbox_relay where owner <> $1 and seen_until > clock_timestamp())::int as others,
  (select count(*) from ${schema}.outbox_relay where owner < $1 and seen_until > clock_timestamp())::int as before`,

    leave: `with r as (delete from ${schema}.outbox_relay where owner = $1)
update ${shard} set owner = null, lease_until = '-infinity' where owner = $1`,

    /** A window that was stored is continued, never opened afresh: its position means nothing in another one. */
    claim: `update ${shard} set owner = $1, epoch = epoch + 1, lease_until = clock_timestamp() + $2 * interval '1 ms'
where cluster = ${cluster} and shard = (
  select shard from ${shard} where (lease_until < clock_timestamp() or owner = $1) and shard <> all($3::smallint[])
  order by random() limit 1 for update skip locked)
returning shard::int, epoch::text, source, ${schema}.outbox_timeline() as timeline, ${now}, ${position}${sequences ? ', sequence' : ''}`,

    /**
     * What is visible now and was not in the snapshot held ($2 its xmax, $3 its running transactions), and the snapshot
     * that says so: one statement, else a commit falls between the two. Up to $4 rows a branch, and payloads up to $5
     * bytes; a branch that has more is full, and the window is spanned instead. Never a named statement: a generic plan
     * does not know that few rows are new. Transactions one by one: without statistics \`any\` reads the whole index.
     */
    open: `with s as materialized (select pg_current_snapshot() as sn)
select 0 as branch, sn::text, ${schema}.outbox_timeline() as timeline, pg_current_wal_insert_lsn()::text as lsn,
  ${now},
  ${none}, null::text as headers, null::text as payload, null::float8 as time_ms, false as cut from s
union all (select 1, null, null, null, null, ${cutPayload} from (
  select ${columns}, sum(octet_length(payload)) over (rows unbounded preceding) > $5 as cut
  from ${outbox} where shard = $1 and txid >= $2::xid8 limit $4) r)
union all (select 2, null, null, null, null, ${cutPayload} from (
  select b.*, sum(octet_length(payload)) over (rows unbounded preceding) > $5 as cut
  from (select r.* from unnest($3::xid8[]) x, lateral (
    select ${columns} from ${outbox} where shard = $1 and txid = x limit $4) r limit $4) b) c)`,

    /** The bounds of a window that is too large for one page. */
    span: `with s as materialized (select pg_current_snapshot() as sn), w as materialized (
  select id from ${outbox} where shard = $1 and txid >= $2::xid8 union all
  select id from ${outbox} where shard = $1 and txid = any($3::xid8[]))
select (select sn::text from s) as sn, pg_current_wal_insert_lsn()::text as lsn,
  (min(id) - 1)::text as pos, max(id)::text as last, count(*)::float8 as messages from w`,

    /**
     * Scans $5 rows after $2 and judges them afterwards: one counts when it is no later than $7, visible in $3 and was
     * not in $4. With the judgement inside the limited scan, or with `shard = $1 and id > $2`, the planner has no statistics
     * to go by, expects few rows, and reads and sorts the whole window for each page. It takes the comparison of rows
     * for a third of the table, and so the index in its order.
     */
    page: `select id::text, ok, topic, key, type, message_id, headers::text, case when ok then ${base64} end as payload,
  ${timeMs} as time_ms
from (
  select *, coalesce(sum(case when ok then octet_length(payload) end)
      over (order by id rows between unbounded preceding and 1 preceding), 0) as before
  from (select shard, ${columns}, shard = $1 and id <= $7::bigint and pg_visible_in_snapshot(txid, $3::pg_snapshot)
          and not pg_visible_in_snapshot(txid, $4::pg_snapshot) as ok
        from ${outbox} where (shard, id) > ($1::smallint, $2::bigint) order by shard, id limit $5) p) q
where before < $6 and shard = $1 order by q.id`,

    /** Under epoch, cluster and timeline; no row: the lease is lost. Dead rows go aside in the same statement. */
    advance: `with a as (
  update ${shard} set snapshot = $4::pg_snapshot, win_to = $5::pg_snapshot, win_pos = $6::bigint, win_end = $7::bigint,
    lease_until = clock_timestamp() + $8 * interval '1 ms'${sequences ? ', sequence = $11' : ''}
  where shard = $1 and epoch = $2::bigint and cluster = ${cluster} and ${schema}.outbox_timeline() = $3 returning 1),
d as (
  insert into ${schema}.outbox_dead (${columns}, error)
  select ${unusedDeadId}, o.topic, o.key, o.type, o.message_id, o.headers, o.payload, o.created_at, p.error
  from unnest($9::bigint[], $10::text[]) p (dead_id, error) join ${outbox} o on o.shard = $1 and o.id = p.dead_id
  where exists (select from a) on conflict do nothing)
select count(*)::int as held from a`,

    renew: `update ${shard} set lease_until = clock_timestamp() + $4 * interval '1 ms'
where shard = $1 and epoch = $2::bigint and cluster = ${cluster} and ${schema}.outbox_timeline() = $3
returning 1 as held`,

    release: `update ${shard} set owner = null, lease_until = '-infinity' where shard = $1 and epoch = $2::bigint`,

    due: `select exists (
  select from ${schema}.outbox_delayed where shard = $1 and due_at <= statement_timestamp()) as due`,

    // NOWAIT: while the number of shards changes the relays must go on publishing, or that would wait for them for ever.
    lockMoving: `lock table only ${outbox}, only ${schema}.outbox_delayed in row exclusive mode nowait`,

    /**
     * The row lock keeps a relay that has lost the shard from moving what its successor moves. A message that somebody
     * is about to cancel or reschedule is left out: waiting for that transaction would hold the whole shard.
     */
    moveDue: `with mine as materialized (
  select 1 from ${shard} where shard = $1 and epoch = $2::bigint and cluster = ${cluster} for update),
due as materialized (
  select shard, due_at, seq from ${schema}.outbox_delayed
  where shard = $1 and due_at <= statement_timestamp() and exists (select from mine) order by due_at, seq limit $3
  for update skip locked),
gone as (
  delete from ${schema}.outbox_delayed d using due
  where (d.shard, d.due_at, d.seq) = (due.shard, due.due_at, due.seq) returning d.*)
insert into ${outbox} (topic, key, type, message_id, headers, payload)
select topic, key, type, message_id, headers, payload from gone order by due_at, seq`,

    flushed: `select pg_current_wal_flush_lsn() >= $1::pg_lsn as flushed`,

    slots: `select ${schema}.outbox_slot()::int as current, ${[0, 1, 2]
      .map((slot) => `pg_relation_size('${schema}.outbox_${slot}')::float8 as size_${slot}`)
      .join(', ')}`,

    // NOWAIT: a session that waits for this lock makes every relay's poll wait behind it.
    lockSlot: (slot: number) => `lock table only ${schema}.outbox_${slot} in access exclusive mode nowait`,

    /** Whether the slot holds anything unread, or nothing here can say so. Must begin after the lock is held. */
    busy: (
      slot: number,
    ) => `select (select count(*) from ${shard} where cluster = ${cluster}) <> ${schema}.outbox_shards()
  or ${unreadIn(`${outbox}_${slot}`)} as busy`,

    unread: `select ${unreadIn(outbox)} as unread`,

    truncateSlot: (slot: number) => `truncate only ${schema}.outbox_${slot}`,

    /** Counts no further than $1 a shard: a backlog of millions must not make looking at it slow. */
    status: `select s.shard::int, s.owner, s.epoch::text, s.lease_until > clock_timestamp() as held,
  (select count(*) from ${schema}.outbox_delayed)::float8 as delayed, (select count(*) from ${schema}.outbox_dead)::float8 as dead,
  p.pending::float8, extract(epoch from clock_timestamp() - p.oldest)::float8 * 1000 as oldest_age_ms
from ${shard} s, lateral (select count(*) as pending, min(created_at) as oldest from (
  (select created_at from ${outbox} o where o.shard = s.shard and o.txid >= pg_snapshot_xmax(s.snapshot)
    and o.id > coalesce(s.win_pos, 0) limit $1)
  union all (select r.created_at from pg_snapshot_xip(s.snapshot) x, lateral (
    select created_at from ${outbox} o where o.shard = s.shard and o.txid = x limit $1) r limit $1)) u) p
order by s.shard`,
  }
}

const cutPayload = `id::text, topic, key, type, message_id, headers::text, case when not cut then ${base64} end,
  ${timeMs}, coalesce(cut, false)`
