import { fromBase64 } from './bytes.ts'

/**
 * A message that an operator sent again, into its lane. The lane's row is written once: what it is due for is decided in that
 * write, since a second write of one row in one statement would not happen.
 */
export function rejoinSql(schema: string, bounded: string): string {
  return `
with ${bounded},
m as materialized (
  select $1::text as pipeline, $2::text as lane, $3::text as scope, $4::text as claim_key, $5::bigint as generation,
    $6::text as fingerprint, $7::text as key_text, ${fromBase64('$8::text')} as envelope, ${fromBase64('$9::text')} as body, $10::text as replaces
  from bounded
  where not exists (
    select from ${schema}.idempotency as i
    where i.scope = $3::text and i.key = $4::text and i.retain_until > clock_timestamp()
      and (i.state = 'completed' or (i.state = 'failed' and $5::bigint <= i.generation)))),
head as materialized (
  select p.seq, p.claim_key, p.claim_key = m.claim_key as itself
  from m join ${schema}.parked as p on p.pipeline = m.pipeline and p.lane = m.lane
  where p.seq = (select min(first.seq) from ${schema}.parked as first where first.pipeline = m.pipeline and first.lane = m.lane)
    and p.scope = m.scope and p.claim_key in (m.claim_key, m.replaces)),
held as materialized (
  select l.next_at = 'infinity' and l.token is null as blocked
  from m join ${schema}.parked_lane as l on l.pipeline = m.pipeline and l.lane = m.lane
  for no key update of l),
lane as (
  insert into ${schema}.parked_lane as l (pipeline, lane, tail, next_at)
  select pipeline, lane, 1, clock_timestamp() from m
  on conflict (pipeline, lane) do update set
    tail = l.tail + 1,
    next_at = case when (select blocked from held) and exists (select from head)
      then clock_timestamp() else l.next_at end
  returning l.tail),
replaced as (
  update ${schema}.parked as p set
    claim_key = m.claim_key, generation = m.generation, fingerprint = m.fingerprint, key_text = m.key_text,
    envelope = m.envelope, body = m.body, attempts = 0, error = null, tried_at = null
  from m cross join lane join head on not head.itself
  where p.pipeline = m.pipeline and p.lane = m.lane and p.seq = head.seq and p.claim_key = m.replaces
    and (select blocked from held)
    and not exists (select from ${schema}.parked as x where x.scope = m.scope and x.claim_key = m.claim_key)
  returning p.seq),
added as (
  insert into ${schema}.parked as p (pipeline, lane, seq, scope, claim_key, generation, fingerprint, key_text, envelope, body)
  select m.pipeline, m.lane, lane.tail, m.scope, m.claim_key, m.generation, m.fingerprint, m.key_text, m.envelope, m.body
  from m cross join lane
  where not exists (select from replaced)
  on conflict (scope, claim_key) do update set
    generation = excluded.generation, fingerprint = excluded.fingerprint, envelope = excluded.envelope, body = excluded.body
  where p.generation < excluded.generation
  returning p.seq)
select lane.tail::text as tail, (select count(*) from replaced)::int + (select count(*) from added)::int as rows from lane`
}
