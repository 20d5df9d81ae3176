/** Messages that are redriven send their generation too; most batches have none, and do not pay for it. */
export interface ClaimSql {
  readonly plain: string
  readonly redriven: string
}

export interface IdempotencyStatements {
  readonly claimSql: ClaimSql
  /** The same for pipelines that park: it asks for the lane too. */
  readonly claimLanedSql: ClaimSql
  readonly settleSql: string
  readonly completeSql: string
  readonly completeParkedSql: string
  readonly completeAllSql: string
  readonly claimInSql: string
  readonly claimAllInSql: string
  /** The same for pipelines that park. */
  readonly claimInLanedSql: string
  readonly claimAllInLanedSql: string
}

export function idempotencyStatements(
  schema: string,
  { inside = false }: { readonly inside?: boolean } = {},
): IdempotencyStatements {
  // A session that claims a key inside a transaction holds this lock until that ends. Asked for and never waited for: neither a
  // duplicate nor a whole batch of claims stands behind a handler.
  const tryLock = (scope: string, key: string): string =>
    `pg_try_advisory_xact_lock(hashtextextended(${scope}, hashtextextended(${key}, ${lockSeed})))`

  // A lock timeout for this statement alone; joined in, so that it is set before the first row waits.
  const bounded = (parameter: string): string =>
    `bounded as materialized (select set_config('lock_timeout', ${parameter}, true))`

  const resent = `i.state = 'in-progress' and i.owner = excluded.owner`
  const over = `i.state in ('completed', 'failed') and i.retain_until <= clock_timestamp()`

  // One autocommitted statement arbitrates, so that a claim never waits for a handler.
  // - Keys are written in order: two batches that share keys cannot deadlock.
  // - The token of a takeover is drawn under the row's lock, so that it is higher than every earlier one.
  // - A claim that is sent again (same owner) keeps its token and its count.
  // - A request that is not `won` is told what the snapshot shows; where that explains nothing the row is changing right now,
  //   and no row is answered: ask again.
  // - While a lane is parked only its holder writes: that gates the claim, and is no look beside it. What is known already
  //   is told before that, so that a failure always reaches its dead letter.
  //   One look-up, whose answer is a column: a lane that is there refuses all but its holder, a missing one only who held it.
  const gated = `coalesce((
    select coalesce(l.token, 0) <> coalesce(asked.lane_token, -1) from ${schema}.parked_lane as l
    where l.pipeline = asked.pipeline and l.lane = asked.lane), asked.lane_token is not null)`
  const claimOf = (laned: boolean, redriven: boolean): string => {
    // A redrive that is newer than the one that failed last. It is a new start: of the attempts, and of the fingerprint.
    const anew = redriven ? `(${over}) or (i.state = 'failed' and excluded.generation > i.generation)` : `(${over})`
    const generation = redriven ? ', generation' : ''
    return `
with asked as materialized (
  select *${laned ? `, ${gated} as gated` : ''}
  from unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::float8[], $6::text[]${laned ? ', $8::text[], $9::text[], $10::bigint[]' : ''}${redriven ? `, $${laned ? 11 : 8}::bigint[]` : ''})
    as asked (n, scope, key, owner, lease_ms, fingerprint${laned ? ', pipeline, lane, lane_token' : ''}${generation})),
${inside ? `free as materialized (select *, ${tryLock('scope', 'key')} as mine from asked order by scope, key),` : ''}
${bounded('$7')},
won as (
  insert into ${schema}.idempotency as i (scope, key, state, token, attempts, owner, lease_until, fingerprint${generation})
  select scope, key, 'in-progress', nextval('${schema}.fence'), 1, owner,
    clock_timestamp() + lease_ms * interval '1 ms', fingerprint${generation}
  from ${inside ? 'free as asked' : 'asked'} cross join bounded
  ${where(...(inside ? ['asked.mine'] : []), ...(laned ? ['not asked.gated'] : []))}
  order by scope, key
  on conflict (scope, key) do update set
    state = 'in-progress',
    token = case when ${resent} then i.token else nextval('${schema}.fence') end,
    attempts = case when ${resent} then i.attempts when ${anew} then 1 else i.attempts + 1 end,
    owner = excluded.owner,
    lease_until = excluded.lease_until,
    generation = ${redriven ? 'excluded.generation' : '0'},
    fingerprint = case when ${anew} then excluded.fingerprint else coalesce(i.fingerprint, excluded.fingerprint) end,
    added_on = case when ${over} then excluded.added_on else i.added_on end,
    retain_until = null,
    failure = null
  where ${anew}
    or ((i.state = 'released' or (i.state = 'in-progress' and i.lease_until < clock_timestamp()) or (${resent}))
      and coalesce(i.fingerprint = excluded.fingerprint, true))
  returning i.scope, i.key, i.token, i.attempts)
select asked.n, won.token::text as token, coalesce(won.attempts, 0) as attempts,
  coalesce(known.state, ${inside || laned ? `case when won.token is not null then 'claimed'${laned ? " when asked.gated then 'parked'" : ''} else 'in-progress' end` : "'claimed'"}) as state,
  coalesce(known.wait_ms, ${inside ? 50 : 0}) as wait_ms, known.failure
from ${inside ? 'free as asked' : 'asked'}
left join won on won.scope = asked.scope and won.key = asked.key
left join lateral (
  select
    case when coalesce(i.fingerprint = asked.fingerprint, true) then i.state else 'conflict' end as state,
    ceil(extract(epoch from i.lease_until - clock_timestamp()) * 1000)::float8 as wait_ms,
    i.failure::text as failure
  from ${schema}.idempotency as i
  where won.token is null and i.scope = asked.scope and i.key = asked.key
    ${laned && redriven ? "and not (i.state = 'failed' and asked.generation > i.generation)" : ''}
    and (coalesce(i.fingerprint <> asked.fingerprint, false)
      or (i.state = 'in-progress' and i.lease_until >= clock_timestamp()${laned ? ' and not asked.gated' : ''})
      or (i.state in ('completed', 'failed') and i.retain_until > clock_timestamp()))
) as known on true
where won.token is not null or known.state is not null${inside ? ' or not asked.mine' : ''}${laned ? ' or asked.gated' : ''}`
  }
  const claimsOf = (laned: boolean): ClaimSql => ({ plain: claimOf(laned, false), redriven: claimOf(laned, true) })

  // Renewal, completion, release and failure are one statement, so that they share a batch.
  // The token is the condition, the expiry of the lease is not: while nobody took over, the holder may go on.
  // A state that is already there is set again: the call was sent twice.
  const settleSql = `
with ${bounded('$9')}
update ${schema}.idempotency as i set
  state = asked.state,
  attempts = coalesce(asked.attempts, i.attempts),
  owner = case when asked.state = 'in-progress' then i.owner end,
  lease_until = case when asked.state in ('in-progress', 'released') then clock_timestamp() + asked.for_ms * interval '1 ms' end,
  retain_until = case when asked.state in ('completed', 'failed') then clock_timestamp() + asked.for_ms * interval '1 ms' end,
  failure = asked.failure::jsonb
from unnest($1::int[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::float8[], $7::int[], $8::text[])
  as asked (n, scope, key, token, state, for_ms, attempts, failure)
cross join bounded
where i.scope = asked.scope and i.key = asked.key and i.token = asked.token
  and (i.state = 'in-progress'
    or (i.state = asked.state and coalesce(i.retain_until > clock_timestamp(), true)))
returning asked.n`

  // The last statement of the handler's transaction. It locks the row until the commit: a takeover that comes meanwhile
  // waits for the outcome, and one that came before makes this change nothing.
  // Where the handler has ended its transaction, this would be one of its own, and the effects may be gone: so it is only
  // for transactions that have written something, unless the store has asked (`$5`).
  const completed = (retainMs: string): string => `
  state = 'completed', owner = null, lease_until = null, failure = null,
  retain_until = clock_timestamp() + ${retainMs} * interval '1 ms'`
  const completeSql = `
update ${schema}.idempotency set ${completed('$4::float8')}
where scope = $1 and key = $2 and token = $3::bigint and state = 'in-progress'
  and ($5::text = 'open' or txid_current_if_assigned() is not null)`

  // The same for a message that a parking worker runs: its row goes in the same transaction. One count tells both, since
  // not every client tells rows: a row that is gone was dropped by an operator, and the effects go with it.
  const completeParkedSql = `
with done as (${completeSql} returning 1)
delete from ${schema}.parked where scope = $1 and claim_key = $2 and exists (select 1 from done)`

  // The same for the keys of a batch. As one JSON text, since not every client that runs it knows arrays; the rows are
  // locked in order, so that it does not deadlock with a batch of claims.
  const completeAllSql = `
with asked as materialized (
  select asked.*, $2::text = 'open' or txid_current_if_assigned() is not null as open
  from jsonb_to_recordset($1::text::jsonb) as asked (n int, scope text, key text, token bigint, retain_ms float8)),
held as materialized (
  select i.scope, i.key, asked.n, asked.retain_ms
  from asked join ${schema}.idempotency as i on i.scope = asked.scope and i.key = asked.key
  where i.token = asked.token and i.state = 'in-progress' and asked.open
  order by i.scope, i.key
  for update of i)
update ${schema}.idempotency as i set ${completed('held.retain_ms')}
from held
where i.scope = held.scope and i.key = held.key
returning held.n`

  // The whole life of a key in one row, for its first delivery: seen by nobody before the handler's transaction commits.
  // The server ends a transaction that is silent for longer than a lease.
  const columns = 'scope, key, state, token, attempts, retain_until, fingerprint'
  const row = (retainMs: string): string =>
    `'completed', nextval('${schema}.fence'), 1, clock_timestamp() + ${retainMs} * interval '1 ms'`
  // A parked lane is only looked at: no business transaction locks its row.
  const notParked = (pipeline: string, lane: string): string =>
    `and not exists (select from ${schema}.parked_lane as l where l.pipeline = ${pipeline} and l.lane = ${lane})`
  const claimIn = (gate: string): string => `
insert into ${schema}.idempotency (${columns})
select $1::text, $2::text, ${row('$3::float8')}, $4::text
where ${tryLock('$1::text', '$2::text')} ${gate}
on conflict do nothing
returning 0 as n, token::text as token, set_config('idle_in_transaction_session_timeout', $5::text, true) as idle`

  // The same for a batch, as one JSON text.
  const claimAllIn = (laned: boolean): string => `
with asked as materialized (
  select *, ${tryLock('scope', 'key')} as mine
  from (
    select * from jsonb_to_recordset($1::text::jsonb)
      as each (n int, scope text, key text, retain_ms float8, fingerprint text${laned ? ', pipeline text, lane text' : ''})
    order by scope, key) as ordered),
won as (
  insert into ${schema}.idempotency (${columns})
  select scope, key, ${row('retain_ms')}, fingerprint from asked where mine ${laned ? notParked('asked.pipeline', 'asked.lane') : ''}
  on conflict do nothing
  returning scope, key, token)
select asked.n, won.token::text as token, set_config('idle_in_transaction_session_timeout', $2::text, true) as idle
from won join asked on won.scope = asked.scope and won.key = asked.key`

  return {
    claimSql: claimsOf(false),
    claimLanedSql: claimsOf(true),
    settleSql,
    completeSql,
    completeParkedSql,
    completeAllSql,
    claimInSql: claimIn(''),
    claimAllInSql: claimAllIn(false),
    claimInLanedSql: claimIn(notParked('$6::text', '$7::text')),
    claimAllInLanedSql: claimAllIn(true),
  }
}

function where(...conditions: readonly string[]): string {
  return conditions.length === 0 ? '' : `where ${conditions.join(' and ')}`
}

// Apart from the advisory locks that a service takes itself: most are hashes with the seed 0.
const lockSeed = 5_061_995
