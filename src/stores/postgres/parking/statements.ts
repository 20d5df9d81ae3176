import { fromBase64 as bytes } from './bytes.ts'
import { rejoinSql } from './rejoin.ts'

export interface ParkingStatements {
  readonly parkSql: string
  readonly appendSql: string
  readonly rejoinSql: string
  readonly claimLanesSql: string
  readonly renewLanesSql: string
  readonly loadSql: string
  readonly removeSql: string
  readonly freeSql: string
  readonly rescheduleSql: string
  readonly countLanesSql: string
  readonly statusSql: string
}

export function parkingStatements(schema: string): ParkingStatements {
  const bounded = (parameter: string): string =>
    `bounded as materialized (select set_config('lock_timeout', ${parameter}, true))`

  // The claim is given back and its message is parked, many in one statement. Under the row's lock the token decides: a
  // process that lost the claim parks nothing. The lane's row is written whether it is there or not, and that locks it: between a lane
  // that ends and one that begins no message can fall.
  const parkSql = `
with asked as materialized (
  select * from unnest($1::int[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::float8[], $8::int[],
    $9::bigint[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::float8[])
    as asked (n, scope, key, token, pipeline, lane, after_ms, attempts, generation, fingerprint, key_text, envelope, body, error, failure, retain_ms)),
${bounded('$17')},
mine as materialized (
  select asked.n
  from asked cross join bounded join ${schema}.idempotency as i on i.scope = asked.scope and i.key = asked.key
  where i.token = asked.token and i.state = 'in-progress'
  order by i.scope, i.key
  for no key update of i),
own as (
  update ${schema}.idempotency as i set
    state = case when asked.failure is null then 'released' else 'failed' end,
    attempts = asked.attempts,
    owner = null,
    failure = asked.failure::jsonb,
    lease_until = case when asked.failure is null then clock_timestamp() end,
    retain_until = case when asked.failure is not null then clock_timestamp() + asked.retain_ms * interval '1 ms' end
  from asked join mine on mine.n = asked.n
  where i.scope = asked.scope and i.key = asked.key
  returning asked.n),
placed as materialized (
  select asked.*, row_number() over (partition by asked.pipeline, asked.lane order by asked.n) as place
  from asked join own on own.n = asked.n),
lane as (
  insert into ${schema}.parked_lane as l (pipeline, lane, tail, next_at)
  select pipeline, lane, count(*), coalesce(clock_timestamp()
    + (array_agg(after_ms order by place))[1] * interval '1 ms', 'infinity')
  from placed group by pipeline, lane order by pipeline, lane
  on conflict (pipeline, lane) do update set tail = l.tail + excluded.tail
  returning l.pipeline, l.lane, l.tail),
added as (
  insert into ${schema}.parked (pipeline, lane, seq, scope, claim_key, generation, fingerprint, attempts, key_text, envelope, body, error)
  select p.pipeline, p.lane, lane.tail - (max(p.place) over (partition by p.pipeline, p.lane)) + p.place, p.scope, p.key,
    p.generation, p.fingerprint, p.attempts, p.key_text, ${bytes('p.envelope')}, ${bytes('p.body')}, p.error
  from placed as p join lane on lane.pipeline = p.pipeline and lane.lane = p.lane
  on conflict (scope, claim_key) do nothing)
select n from own`

  // What makes a message one for the claim to answer: it is final, somebody holds it, or it is other content under that key.
  const claimKnows = `(i.state in ('completed', 'failed') and i.retain_until > clock_timestamp()
      and not (i.state = 'failed' and m.generation > i.generation))
    or (i.state = 'in-progress' and i.lease_until >= clock_timestamp())
    or coalesce(i.fingerprint <> m.fingerprint, false)`

  // The look and the insert are one statement, under the lane's lock. A lapsed claim is fenced out in it: what is parked is
  // held by a worker or by nobody, so that no late completion leaves a row behind. Of a run the first that its claim has to
  // answer keeps its place: nothing of the run is put past it.
  const appendSql = `
with m as materialized (
  select * from unnest($1::int[], $2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::int[])
    as m (n, run, pipeline, lane, scope, claim_key, generation, fingerprint, key_text, envelope, body, cap)),
${bounded('$13')},
k as materialized (
  select l.pipeline, l.lane, l.tail
  from ${schema}.parked_lane as l cross join bounded
  where (l.pipeline, l.lane) in (select m.pipeline, m.lane from m)
  order by l.pipeline, l.lane
  for no key update of l),
there as materialized (
  -- A dead head stays parked, and its dead letter may not be confirmed yet: its redelivery has to reach the claim.
  select m.n, coalesce(p.fingerprint = m.fingerprint, true) and not exists (
    select from ${schema}.idempotency as i
    where i.scope = m.scope and i.key = m.claim_key and i.state = 'failed' and m.generation <= i.generation) as same
  from m join ${schema}.parked as p on p.scope = m.scope and p.claim_key = m.claim_key),
looked as materialized (
  select m.*, k.tail, coalesce(there.same, false) as same, there.n is null and not exists (
    select from ${schema}.idempotency as i where i.scope = m.scope and i.key = m.claim_key and (${claimKnows})) as fits
  from m join k on k.pipeline = m.pipeline and k.lane = m.lane
  left join there on there.n = m.n),
fresh as materialized (
  select turn.*, row_number() over (partition by turn.pipeline, turn.lane order by turn.n) as place
  from (select looked.*, bool_and(same or fits) over (partition by run order by n) as in_turn from looked) as turn
  where turn.fits and turn.in_turn),
depth as materialized (
  select k.pipeline, k.lane, k.tail - coalesce((select min(p.seq) from ${schema}.parked as p
    where p.pipeline = k.pipeline and p.lane = k.lane), k.tail + 1) + 1 as rows
  from k),
fitting as materialized (
  select fresh.* from fresh join depth on depth.pipeline = fresh.pipeline and depth.lane = fresh.lane
  where depth.rows + fresh.place <= fresh.cap),
fenced as (
  update ${schema}.idempotency as i set state = 'released', owner = null, lease_until = clock_timestamp()
  from fitting as f
  where i.scope = f.scope and i.key = f.claim_key and i.state = 'in-progress' and i.lease_until < clock_timestamp()),
moved as (
  update ${schema}.parked_lane as l set tail = l.tail + f.more
  from (select pipeline, lane, count(*) as more from fitting group by pipeline, lane) as f
  where l.pipeline = f.pipeline and l.lane = f.lane),
added as (
  insert into ${schema}.parked (pipeline, lane, seq, scope, claim_key, generation, fingerprint, key_text, envelope, body)
  select pipeline, lane, tail + place, scope, claim_key, generation, fingerprint, key_text, ${bytes('envelope')}, ${bytes('body')}
  from fitting
  on conflict (scope, claim_key) do nothing)
select m.n, case
    when there.same then 'known'
    when fitting.n is not null then 'appended'
    when fresh.n is not null then 'full'
    else 'again'
  end as said
from m
left join there on there.n = m.n
left join fresh on fresh.n = m.n
left join fitting on fitting.n = m.n`

  // The statement's time is an index condition; a volatile one is none.
  const claimLanesSql = `
with due as materialized (
  select l.pipeline, l.lane from ${schema}.parked_lane as l
  where l.pipeline = $1 and l.next_at <= statement_timestamp()
  order by l.next_at
  limit $2
  for no key update skip locked)
update ${schema}.parked_lane as l set
  token = nextval('${schema}.fence'), owner = $3, next_at = clock_timestamp() + $4::float8 * interval '1 ms'
from due where l.pipeline = due.pipeline and l.lane = due.lane
returning l.lane, l.token::text as token`

  const renewLanesSql = `
with ${bounded('$5')}
update ${schema}.parked_lane as l set next_at = clock_timestamp() + $4::float8 * interval '1 ms'
from unnest($1::text[], $2::text[], $3::bigint[]) as held (pipeline, lane, token) cross join bounded
where l.pipeline = held.pipeline and l.lane = held.lane and l.token = held.token
returning l.token::text as token`

  // The tail and the rows are of one snapshot, and not of the one in which the lane was claimed: that one may be older than
  // the last append.
  const loadSql = `
select l.tail::text as tail, p.seq::text as seq, p.scope, p.claim_key, p.generation::text as generation, p.attempts,
  encode(p.envelope, 'base64') as envelope, encode(p.body, 'base64') as body,
  (extract(epoch from clock_timestamp() - p.parked_at) * 1000)::float8 as age_ms,
  coalesce((extract(epoch from clock_timestamp() - p.tried_at) * 1000)::float8, 0) as waited_ms
from ${schema}.parked_lane as l
left join lateral (
  select * from ${schema}.parked as p
  where p.pipeline = l.pipeline and p.lane = l.lane
  order by p.seq
  limit $4) as p on true
where l.pipeline = $1 and l.lane = $2 and l.token = $3::bigint
order by p.seq`

  const removeSql = `
delete from ${schema}.parked as p
using unnest($1::text[], $2::text[], $3::bigint[]) as done (scope, claim_key, generation)
where p.scope = done.scope and p.claim_key = done.claim_key and p.generation <= done.generation`

  const freeSql = `
delete from ${schema}.parked_lane
where pipeline = $1 and lane = $2 and token = $3::bigint and tail = $4::bigint
returning lane`

  // A row that was tried and waits again counts its wait from here: it may have stood behind others for long.
  const rescheduleSql = `
with l as (
  update ${schema}.parked_lane set
    token = null, owner = null, next_at = coalesce(clock_timestamp() + $4::float8 * interval '1 ms', 'infinity')
  where pipeline = $1 and lane = $2 and token = $3::bigint
  returning lane),
head as (
  update ${schema}.parked set attempts = $7::int, error = $8, tried_at = coalesce(tried_at, clock_timestamp())
  where scope = $5 and claim_key = $6 and exists (select from l))
select lane from l`

  const countLanesSql = `
select count(*)::int as lanes from (select from ${schema}.parked_lane where pipeline = $1 limit $2) as few`

  const statusSql = `
select count(*)::int as lanes, (count(*) filter (where l.next_at = 'infinity'))::int as blocked,
  (select count(*) from ${schema}.parked as p where p.pipeline = $1)::float8 as rows,
  (extract(epoch from clock_timestamp() - min(head.parked_at)) * 1000)::float8 as oldest_ms
from ${schema}.parked_lane as l
left join lateral (
  select p.parked_at from ${schema}.parked as p
  where p.pipeline = l.pipeline and p.lane = l.lane order by p.seq limit 1) as head on true
where l.pipeline = $1`

  return {
    parkSql,
    appendSql,
    rejoinSql: rejoinSql(schema, bounded('$11')),
    claimLanesSql,
    renewLanesSql,
    loadSql,
    removeSql,
    freeSql,
    rescheduleSql,
    countLanesSql,
    statusSql,
  }
}
