export interface LimitStatements {
  readonly takeSql: string
  readonly holdSql: string
  readonly cleanSql: string
}

const nowUs = 'extract(epoch from clock_timestamp())::float8 * 1000000'

// The generic cell rate algorithm (GCRA), as in Redis. $1 limit, $2 count, $3 per second, $4 burst, $5 ahead in ms, $6 earned.
const takeFrom = (fullUs: string): string => `
select a.full_us + a.taken * a.gap, a.taken,
  greatest(0, a.full_us + a.gap - a.now - case when a.taken = 0 then a.ahead else 0 end)
from (
  select f.*, greatest(0, least($2::int, floor((f.now + f.ahead - f.full_us) / f.gap)))::int as taken
  from (
    select t.now, t.gap, t.ahead, greatest(${fullUs} - $6::float8 * t.gap, t.now - $4::float8 * t.gap) as full_us
    from (select ${nowUs} as now, 1000000 / $3::float8 as gap, $5::float8 * 1000 as ahead) t) f) a`

// Max-min fair, as in Redis: who wants least is served first, and those who want more than their share divide what is left.
// What cannot be divided goes round, one lease each. $1 limit, $2 owner, $3 held, $4 want, $5 max, $6 lease in ms.
const holdFrom = (lines: string): string => `
with t as materialized (select floor(${nowUs} / 1000) as now),
live as materialized (
  select l.owner, (l.line ->> 0)::int as kept, (l.line ->> 1)::int as want, l.line
  from jsonb_each(${lines}) as l (owner, line), t
  where (l.line ->> 2)::float8 > t.now and l.owner <> $2::text),
wants as (
  select owner collate "C" as owner, want from live union all select $2::text collate "C", $4::int),
ranked as materialized (
  select owner, want, row_number() over w as at, count(*) over () - row_number() over w + 1 as sharers,
    $5::int - (sum(want) over w - want) as remaining
  from wants window w as (order by want, owner)),
cut as materialized (
  select at, sharers, remaining from ranked where want * sharers > remaining order by at limit 1),
fair as (
  select r.owner, c.remaining / c.sharers
    + case when (row_number() over (order by r.owner) + floor(t.now / $6::float8)::bigint) % c.sharers < c.remaining % c.sharers
      then 1 else 0 end as share
  from ranked r, cut c, t where r.at >= c.at),
answer as (
  select least($4::int, coalesce((select share from fair where owner = $2::text), $4::int), free)::int as granted, free
  from (select greatest(0, $5::int - coalesce((select sum(kept) from live), 0))::int as free) f)
select
  coalesce((select jsonb_object_agg(owner, line) from live), '{}') ||
    case when $3::int = 0 and $4::int = 0 then '{}'
    else jsonb_build_object($2::text,
      jsonb_build_array(least(greatest(a.granted, $3::int), a.free), $4::int, t.now + $6::float8)) end,
  a.granted, to_timestamp((t.now + 2 * $6::float8) / 1000)
from answer a, t`

export function limitStatements(schema: string): LimitStatements {
  // One statement each, so that it works behind a pooler too. ON CONFLICT computes from the row as it is once it is locked. A
  // plain UPDATE that had to wait for the row does not: it takes the common table expressions of its subquery from before.
  return {
    takeSql: `
insert into ${schema}.limit_rate as r (name, full_us, taken, wait_us)
select $1::text, t.* from (${takeFrom('0')}) t
on conflict (name) do update set (full_us, taken, wait_us) = (${takeFrom('r.full_us')})
returning r.taken, ceil(r.wait_us / 1000)::float8 as in_ms`,
    holdSql: `
insert into ${schema}.limit_places as p (name, lines, granted, until)
select $1::text, h.* from (${holdFrom("'{}'::jsonb")}) h
on conflict (name) do update set (lines, granted, until) = (${holdFrom('p.lines')})
returning p.granted`,
    cleanSql: `
with gone as (delete from ${schema}.limit_places where until < clock_timestamp() - interval '1 minute' returning 1)
delete from ${schema}.limit_rate where full_us < ${nowUs} - 60000000`,
  }
}
