export interface RedriveStatements {
  /** With the condition on the letters, whose parameters begin at $7. */
  readonly create: (condition: string) => string
  /** With the condition, whose parameters begin at $3, and the order in which an index has such letters. */
  readonly preview: (condition: string, order: string) => string
  readonly claimLanes: string
  readonly begin: string
  readonly reserve: string
  readonly renew: string
  readonly advance: string
  readonly advanceMany: string
  readonly wait: string
  readonly finish: string
  readonly pause: string
  readonly resume: string
  readonly cancel: string
}

export function redriveStatements(schema: string): RedriveStatements {
  const open = 'i.result is null'
  // The key has another content: only an edited letter, which is another message, can run.
  const conflicts = `d.reason = 'conflict' and d.replaces is null`
  const log = (act: string): string =>
    `insert into ${schema}.operator_log (by, act, redrive) select $2, ${act}, id from r`
  return {
    // What matches now, and nothing later. A letter that another redrive has is left to it: the unique index on open items
    // arbitrates, and the total counts what was really taken. $1 by $2 filter $3 route $4 per second $5 canary $6 most redrives
    create: (condition) => `
with chosen as materialized (
  select d.id, d.pipeline, d.key from ${schema}.dead_letter d where d.state = 'dead' and ${condition}
    and not (${conflicts}) and not exists (select 1 from ${schema}.redrive_item i where i.letter = d.id and ${open})),
made as (
  select nextval(pg_get_serial_sequence('${schema}.redrive', 'id')) as id where exists (select 1 from chosen)),
taken as (
  insert into ${schema}.redrive_item (redrive, lane, letter)
  select made.id,
    case when c.key is null then -c.id else hashtextextended(c.pipeline || chr(31) || c.key, 0) & 9223372036854775807 end, c.id
  from chosen c cross join made order by c.id
  on conflict (letter) where result is null do nothing
  returning redrive, lane, letter),
last as (select max(letter) as letter from (select letter from taken order by letter limit $5::int) first where $5::int is not null),
lanes as (
  insert into ${schema}.redrive_lane (redrive, lane, pipeline, next_at)
  select redrive, lane, min(c.pipeline), case when min(taken.letter) <= coalesce(last.letter, 9223372036854775807) then '-infinity' else 'infinity' end::timestamptz
  from taken join chosen c on c.id = taken.letter cross join last group by redrive, lane, last.letter),
created as (
  insert into ${schema}.redrive (id, by, filter, route, per_second, canary, canary_to, max_redrives, total)
  overriding system value
  select made.id, $1, $2::jsonb, $3, $4::float8, $5::int, (select letter from last), $6::int, (select count(*) from taken)
  from made where exists (select 1 from taken)
  returning id, total),
logged as (
  insert into ${schema}.operator_log (by, act, redrive, detail)
  select $1, 'redrive', id, jsonb_build_object('letters', total, 'route', $3::text, 'filter', $2::jsonb) from created)
select id::text from created`,

    // What an index counts is counted of all letters that match. What needs the letter itself or its key is counted of the
    // first $2 alone: a look-up each, in a table that may hold very many completed keys. $1 most redrives
    preview: (condition, order) => `
with looked as materialized (
  select d.id, d.pipeline, d.key, d.claim_scope, d.claim_key, d.redrives >= $1::int as guarded
  from ${schema}.dead_letter d where d.state = 'dead' and ${condition} order by ${order} limit $2::int),
seen as (
  select l.*, exists (select 1 from ${schema}.redrive_item i where i.letter = l.id and ${open}) as taken,
    completed.yes is not null as completed
  from looked l left join lateral (
    select true as yes from ${schema}.idempotency k where k.scope = l.claim_scope and k.key = l.claim_key
      and k.state = 'completed' and k.retain_until > clock_timestamp() limit 1) completed on true)
select (select count(*) from ${schema}.dead_letter d where d.state in ('dead', 'redriving') and ${condition})
    - (select count(*) from ${schema}.dead_letter d where d.state = 'redriving' and ${condition}) as matched,
  (select count(*) from ${schema}.redrive_item i join ${schema}.dead_letter d on d.id = i.letter
    where ${open} and d.state = 'dead' and ${condition}) as taken,
  (select count(*) from ${schema}.dead_letter d where d.state = 'dead' and ${conflicts} and ${condition}
    and not exists (select 1 from ${schema}.redrive_item i where i.letter = d.id and ${open})) as conflicts,
  (select count(*) from looked) as looked,
  (select count(*) from (select distinct pipeline, coalesce(key, id::text), key is null from looked) k) as keys,
  count(*) filter (where guarded and not taken) as guarded,
  count(*) filter (where completed and not taken) as completed
from seen`,

    // $1 redrive $2 how many $3 owner $4 lease $5 pipelines
    claimLanes: `
with due as materialized (
  select l.redrive, l.lane from ${schema}.redrive_lane l join ${schema}.redrive r on r.id = l.redrive and r.state = 'running'
  where l.redrive = $1::bigint and l.next_at <= statement_timestamp()
    and ($5::text[] is null or l.pipeline = any($5::text[]))
  order by l.next_at, l.lane limit $2::int for no key update of l skip locked)
update ${schema}.redrive_lane l
set token = nextval('${schema}.fence'), owner = $3, next_at = clock_timestamp() + $4::float8 * interval '1 ms'
from due where l.redrive = due.redrive and l.lane = due.lane
returning l.lane::text, l.token::text`,

    // $1 redrive $2 lanes $3 tokens $4 letters of a lane. A generation is given once, by a statement that asks whether the
    // letter is dead. An item that was begun before goes on only while its letter still waits for it. All others get their
    // result here, from what their letter is now.
    begin: `
with mine as materialized (
  select l.lane, r.max_redrives, r.canary_to
  from unnest($2::bigint[], $3::bigint[]) as a (lane, token)
  join ${schema}.redrive_lane l on l.redrive = $1::bigint and l.lane = a.lane and l.token = a.token
  join ${schema}.redrive r on r.id = l.redrive and r.state = 'running'
  order by l.lane for no key update of l),
page as materialized (
  select mine.lane, p.letter, p.generation, mine.max_redrives from mine cross join lateral (
    select i.letter, i.generation from ${schema}.redrive_item i
    where i.redrive = $1::bigint and i.lane = mine.lane and ${open} and (mine.canary_to is null or i.letter <= mine.canary_to)
    order by i.letter limit $4::int) p),
fresh as (
  update ${schema}.dead_letter d set state = 'redriving', redrives = d.redrives + 1,
    generation = nextval('${schema}.fence'), changed_at = clock_timestamp()
  from page where d.id = page.letter and page.generation is null and d.state = 'dead' and d.redrives < page.max_redrives
  returning d.id, d.generation, page.lane),
again as (
  select d.id, d.generation, page.lane from ${schema}.dead_letter d join page on page.letter = d.id
  where page.generation is not null and d.state = 'redriving' and d.generation = page.generation
  for update of d),
given as (
  update ${schema}.redrive_item i set generation = fresh.generation from fresh
  where i.redrive = $1::bigint and i.lane = fresh.lane and i.letter = fresh.id),
over as (
  update ${schema}.redrive_item i set result = case
    when d.state = 'resolved' then 'resolved'
    when page.generation is not null and d.state = 'dead' then 'dead'
    when d.state = 'dead' and d.redrives >= page.max_redrives then 'guarded'
    else 'skipped' end
  from page left join ${schema}.dead_letter d on d.id = page.letter
  where i.redrive = $1::bigint and i.lane = page.lane and i.letter = page.letter
    and not exists (select 1 from fresh where fresh.id = page.letter)
    and not exists (select 1 from again where again.id = page.letter))
select sent.id::text, sent.generation::text as given, sent.lane::text as lane
from (select * from fresh union all select * from again) sent order by sent.id`,

    // One row is the bucket of the whole fleet. $1 redrive $2 letters
    reserve: `
update ${schema}.redrive set next_at = case when per_second is null then next_at
  else greatest(next_at, clock_timestamp()) + $2::int * interval '1 s' / per_second end
where id = $1::bigint and state = 'running'
returning case when per_second is null then 0
  else greatest(0, extract(epoch from next_at - $2::int * interval '1 s' / per_second - clock_timestamp()) * 1000) end::float8 as ms`,

    renew: `
update ${schema}.redrive_lane l set next_at = clock_timestamp() + $4::float8 * interval '1 ms'
from unnest($2::bigint[], $3::bigint[]) as a (lane, token)
where l.redrive = $1::bigint and l.lane = a.lane and l.token = a.token`,

    // $1 redrive $2 lane $3 token $4 letters $5 results $6 stop $7 keep the lane for ms. The lane is written first and the
    // items hang on its RETURNING: a row that a statement locks in one part and updates in another gives an empty gate.
    advance: `
with rest as materialized (
  select exists (
    select 1 from ${schema}.redrive_item i join ${schema}.redrive r on r.id = i.redrive
    where i.redrive = $1::bigint and i.lane = $2::bigint and ${open} and i.letter <> all($4::bigint[])
      and (r.canary_to is null or i.letter <= r.canary_to)) and not $6::boolean as more),
lane as (
  update ${schema}.redrive_lane l set
    next_at = case when not rest.more then 'infinity' when $7::float8 is null then statement_timestamp()
      else clock_timestamp() + $7::float8 * interval '1 ms' end,
    token = case when $7::float8 is null or not rest.more then null else l.token end
  from rest where l.redrive = $1::bigint and l.lane = $2::bigint and l.token = $3::bigint
  returning rest.more),
items as (
  update ${schema}.redrive_item i set result = coalesce(
    (select s.result from unnest($4::bigint[], $5::text[]) as s (letter, result) where s.letter = i.letter), 'skipped')
  where i.redrive = $1::bigint and i.lane = $2::bigint and ${open}
    and (i.letter = any($4::bigint[]) or $6::boolean) and exists (select 1 from lane)
  returning 1)
select more, (select count(*) from items)::int as settled from lane`,

    // $1 redrive $2 lanes $3 tokens $4 letters $5 result
    advanceMany: `
with rest as materialized (
  select a.lane, a.token, exists (
    select 1 from ${schema}.redrive_item i join ${schema}.redrive r on r.id = i.redrive
    where i.redrive = $1::bigint and i.lane = a.lane and ${open}
      and (r.canary_to is null or i.letter <= r.canary_to)
      and not exists (select 1 from unnest($4::bigint[]) as x (id) where x.id = i.letter)) as more
  from unnest($2::bigint[], $3::bigint[]) as a (lane, token)),
lanes as (
  update ${schema}.redrive_lane l set token = null, owner = null,
    next_at = case when rest.more then statement_timestamp() else 'infinity' end
  from rest where l.redrive = $1::bigint and l.lane = rest.lane and l.token = rest.token
  returning l.lane)
update ${schema}.redrive_item i set result = $5 from lanes
where i.redrive = $1::bigint and i.lane = lanes.lane and i.letter = any($4::bigint[]) and ${open}`,

    wait: `
update ${schema}.redrive_lane set token = null, next_at = clock_timestamp() + $4::float8 * interval '1 ms'
where redrive = $1::bigint and lane = $2::bigint and token = $3::bigint`,

    finish: `
update ${schema}.redrive r set
  state = case when left_over then 'paused' else 'done' end,
  ended_at = case when left_over then null else clock_timestamp() end
from (select exists (select 1 from ${schema}.redrive_item i where i.redrive = $1::bigint and ${open}) as left_over) o
where r.id = $1::bigint and r.state = 'running'
  and not exists (select 1 from ${schema}.redrive_lane l where l.redrive = r.id and l.next_at < 'infinity')
returning r.state`,

    pause: `
with r as (update ${schema}.redrive set state = 'paused' where id = $1::bigint and state = 'running' returning id)
${log("'pause'")}`,

    // Every lane with something open is due again: those beyond the canary, and those whose holder died meanwhile.
    resume: `
with r as (
  update ${schema}.redrive set state = 'running', canary_to = null where id = $1::bigint and state = 'paused' returning id),
due as (
  update ${schema}.redrive_lane l set next_at = '-infinity', token = null from r
  where l.redrive = r.id and l.next_at = 'infinity' and exists (
    select 1 from ${schema}.redrive_item i where i.redrive = l.redrive and i.lane = l.lane and ${open}))
${log("'resume'")}`,

    // What was begun stays open until its worker says how it ended: nobody else may take the letter meanwhile.
    cancel: `
with r as (
  update ${schema}.redrive set state = 'cancelled', ended_at = clock_timestamp()
  where id = $1::bigint and state in ('running', 'paused') returning id),
ended as (
  update ${schema}.redrive_item i set result = 'cancelled' from r
  where i.redrive = r.id and ${open} and i.generation is null)
${log("'cancel'")}`,
  }
}
