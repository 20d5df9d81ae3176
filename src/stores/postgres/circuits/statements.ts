const columns = ['state', 'epoch', 'until', 'prober', 'grant_id', 'window_ms', 'since'] as const
type Column = (typeof columns)[number]

/** One transition: when it happens, and what it changes. The first that fits is taken. */
interface Transition {
  readonly when: string
  readonly to: Partial<Record<Column, string>>
}

// $1 circuit, $2 owner, $3 what, $4 result, $5 known epoch, $6 known state, $7 known left in ms, $8 vote, $9 bad,
// $10 bad age, $11 answer age, $12 openAfter, $13 openMs, $14 maxOpenMs, $15 leaseMs, $16 the id of this request.
const longer = (ms: string): string => `least(${ms} * 1.5, $14::float8)`
const after = (ms: string): string => `s.now + (${ms}) * interval '1 ms'`
const nextEpoch = 'greatest(s.epoch + 1, (extract(epoch from s.now) * 1000000)::bigint)'
const nobody = { prober: 'null::text', grant_id: 'null::text' }
const never = "timestamptz 'epoch'"

/** This server lost what it knew, or was replaced: the highest epoch is right. */
const adopt: readonly Transition[] = [
  {
    when: '$5::bigint > s.epoch',
    to: {
      ...nobody,
      state: "case when $6::text = 'closed' then 'closed' else 'open' end",
      epoch: '$5::bigint',
      until: `case when $6::text = 'closed' then ${never} else ${after('least(greatest($7::float8, 0), $14::float8)')} end`,
      window_ms: '$13::float8',
      since: 's.now',
    },
  },
]

/** The probe died: its window is over, and the next one has to pass. */
const lapse: readonly Transition[] = [
  {
    when: "s.state = 'half-open' and s.until <= s.now",
    to: { ...nobody, state: "'open'", epoch: nextEpoch, until: after('s.window_ms'), window_ms: longer('s.window_ms') },
  },
]

// What an older epoch says is about another circuit.
const ofThisEpoch = "$3::text = 'settle' and s.state <> 'closed' and $5::bigint = s.epoch"
const ownProbe = `${ofThisEpoch} and s.state = 'half-open' and s.prober = $2::text`
const closed = {
  ...nobody,
  state: "'closed'",
  epoch: nextEpoch,
  until: never,
  window_ms: '$13::float8',
  since: 's.now',
}

const settleOrAsk: readonly Transition[] = [
  { when: `${ofThisEpoch} and $4::text = 'answered'`, to: closed },
  {
    when: `${ownProbe} and $4::text = 'failed'`,
    to: { ...nobody, state: "'open'", epoch: nextEpoch, until: after('s.window_ms'), window_ms: longer('s.window_ms') },
  },
  { when: ownProbe, to: { ...nobody, state: "'open'", epoch: nextEpoch, until: 's.now' } },
  {
    when: "$3::text = 'ask' and s.state = 'open' and s.until <= s.now",
    to: {
      ...{ state: "'half-open'", epoch: nextEpoch, until: after('$15::float8') },
      ...{ prober: '$2::text', grant_id: '$16::text' },
    },
  },
]

// The lines of the others are read only where this process has something against it. A vote from before it closed is about
// the outage that is over.
const opens = `s.state = 'closed' and ($8::text = 'open' or $9::int > 0) and (
  select (v.open > 0 and v.open >= v.works and (v.open > 1 or v.works = 0))
    or (select coalesce(sum(bad), 0) from seen where bad_since > greatest(v.answered, s.since)) >= $12::int
  from (
    select count(*) filter (where vote = 'open' and until - interval '10 s' > s.since) as open,
      count(*) filter (where vote = 'works') as works, max(answered_at) as answered
    from seen) v)`
const open: readonly Transition[] = [
  {
    when: opens,
    to: {
      ...{ ...nobody, state: "'open'", epoch: nextEpoch, until: after('$13::float8') },
      ...{ window_ms: longer('$13::float8'), since: 's.now' },
    },
  },
]

/** The state after these transitions, from the state before them. */
function step(before: string, transitions: readonly Transition[]): string {
  const at = transitions.map(({ when }, n) => `when ${when} then ${n}`).join('\n      ')
  const value = (column: Column): string => {
    const cases = transitions.flatMap(({ to }, n) => (to[column] === undefined ? [] : [`when ${n} then ${to[column]}`]))
    return cases.length === 0 ? `s.${column}` : `case s.at ${cases.join(' ')} else s.${column} end as ${column}`
  }
  return `select s.now, ${columns.map(value).join(', ')} from (
    select s.*, case
      ${at} end as at
    from (${before}) s) s`
}

export interface CircuitStatements {
  readonly exchangeSql: string
  readonly createSql: string
  readonly listSql: string
  readonly cleanSql: string
}

export function circuitStatements(schema: string): CircuitStatements {
  const all = [adopt, lapse, settleOrAsk, open].reduce(
    step,
    `select clock_timestamp() as now, ${columns.map((column) => `c.${column}`).join(', ')}`,
  )
  const age = (parameter: string): string =>
    `case when ${parameter}::float8 is null then ${never} else clock_timestamp() - ${parameter}::float8 * interval '1 ms' end`
  const own = `$8::text, $9::int, ${age('$10')}, ${age('$11')}, clock_timestamp() + interval '10 s'`
  // One statement, so that it works behind a pooler too. The new state is a subquery on the row itself: where the row was
  // locked by another process, PostgreSQL computes it again from what that one has written.
  const exchangeSql = `
with told as (
  insert into ${schema}.circuit_voter as v (name, owner, vote, bad, bad_since, answered_at, until)
  values ($1::text, $2::text, ${own})
  on conflict (name, owner) do update set vote = excluded.vote, bad = excluded.bad, bad_since = excluded.bad_since,
    answered_at = excluded.answered_at, until = excluded.until),
seen as (
  select vote, bad, bad_since, answered_at, until from ${schema}.circuit_voter
  where name = $1::text and owner <> $2::text and until > clock_timestamp()
  union all
  select ${own})
update ${schema}.circuit c set (${columns.join(', ')}) = (
  select ${columns.map((column) => `s.${column}`).join(', ')} from (
    ${all}) s)
where c.name = $1::text
returning c.state, c.epoch::text as epoch, coalesce(c.grant_id = $16::text, false) as granted, c.prober,
  greatest(extract(epoch from c.until - clock_timestamp()) * 1000, 0)::float8 as left_ms`
  return {
    exchangeSql,
    createSql: `insert into ${schema}.circuit (name) values ($1::text) on conflict do nothing`,
    listSql: `
select c.name, c.state, c.epoch::text as epoch, c.prober,
  greatest(extract(epoch from c.until - clock_timestamp()) * 1000, 0)::float8 as left_ms,
  (select count(*) from ${schema}.circuit_voter v where v.name = c.name and v.until > clock_timestamp())::int as voters,
  (select count(*) from ${schema}.circuit_voter v
   where v.name = c.name and v.until > clock_timestamp() and v.vote = 'open')::int as open_votes
from ${schema}.circuit c
order by c.state = 'closed', c.name
limit $1::int`,
    cleanSql: `
with gone as (delete from ${schema}.circuit_voter where until < clock_timestamp() - interval '1 minute' returning 1)
delete from ${schema}.circuit
where state = 'closed' and since < clock_timestamp() - interval '1 day'
  and not exists (select 1 from ${schema}.circuit_voter v where v.name = circuit.name and v.until > clock_timestamp())`,
  }
}
