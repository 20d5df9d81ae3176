import { serviceNames, type ServiceName } from '../plan.ts'
import type { Figures, ServiceFigures } from './audit.ts'

/** The shop's own tables. Nothing in them is unique that could be done twice, so that it would be seen. */
export const tables = (schema: string): string => `
create table ${schema}.placed (
  order_id text primary key, customer text not null, number int not null, coffee text not null, cups int not null,
  poison boolean not null, at timestamptz not null default clock_timestamp());
create table ${schema}.effect (
  seq bigint generated always as identity, service text not null, order_id text not null, customer text not null,
  number int not null, amount int not null);
create index on ${schema}.effect (service, order_id);
create table ${schema}.charge (key text primary key);
create table ${schema}.click (id text primary key, product text not null, at timestamptz not null);
create index on ${schema}.click (at)`

/** One order at one service: what was done for it, and what became of it. */
export const figuresOf = (schema: string): string => `
with done as (select service, order_id, count(*)::int as times from ${schema}.effect group by 1, 2),
  dead as (select distinct pipeline as service, message_id as order_id from ${schema}.dead_letter),
  latest as (select service, customer, max(number) as number from ${schema}.effect group by 1, 2),
  due as (
    select s.service, p.poison, p.at, d.times, x.order_id is not null as dead, coalesce(l.number > p.number, false) as passed
    from ${schema}.placed p cross join unnest($1::text[]) as s (service)
      left join done d on d.service = s.service and d.order_id = p.order_id
      left join dead x on x.service = s.service and x.order_id = p.order_id
      left join latest l on l.service = s.service and l.customer = p.customer)
select service,
  coalesce(sum(times), 0)::int as effects,
  count(*) filter (where times is null and not dead and not passed)::int as waiting,
  count(*) filter (where times is null and not dead and passed)::int as "passedOver",
  coalesce(sum(times - 1), 0)::int as doubled,
  coalesce(sum(times) filter (where poison), 0)::int as unexpected,
  count(*) filter (where poison and dead)::int as "poisonDead",
  count(*) filter (where not poison and dead and times is null)::int as "goodDead",
  (extract(epoch from max(clock_timestamp() - at) filter (where times is null and not dead)) * 1000)::float8 as "oldestMs"
from due group by service`

/** Effects that came after an effect of a later order of the same customer. */
export const lateOf = (schema: string): string => `
select service, count(*)::int as late from (
  select service, number, max(number) over (partition by service, customer order by seq
    rows between unbounded preceding and 1 preceding) as before from ${schema}.effect) e
where number < before group by service`

export const totalsOf = (schema: string): string => `
select (select count(*) from ${schema}.placed)::int as placed,
  (select count(*) from ${schema}.placed where poison)::int as poison,
  (select count(*) from ${schema}.click)::int as clicks,
  (select count(*) from ${schema}.effect e
    where not exists (select from ${schema}.placed p where p.order_id = e.order_id))::int as strangers`

/** Clicks by product and second: \`date_bin\` makes the buckets when they are asked for, so late clicks count too. */
export const clicksOf = (schema: string): string => `
select product, extract(epoch from date_bin('1 s', at, 'epoch'))::int as second, count(*)::int as clicks
from ${schema}.click where at > now() - make_interval(secs => $1) group by 1, 2`

export interface FiguresRow extends Omit<ServiceFigures, 'outOfOrder'> {
  readonly service: ServiceName
  readonly oldestMs: number | null
}

export interface Rows {
  readonly figures: readonly FiguresRow[]
  readonly late: readonly { readonly service: ServiceName; readonly late: number }[]
  readonly totals: {
    readonly placed: number
    readonly poison: number
    readonly clicks: number
    readonly strangers: number
  }
}

export function figuresFrom({ figures, late, totals: { placed, poison, clicks, strangers } }: Rows): Figures {
  const of = (service: ServiceName): ServiceFigures => {
    const row = figures.find((each) => each.service === service)
    const outOfOrder = late.find((each) => each.service === service)?.late ?? 0
    if (row === undefined) return { ...nothing, outOfOrder }
    const { oldestMs: _, service: __, ...counted } = row
    return { ...counted, outOfOrder, unexpected: counted.unexpected + (service === serviceNames[0] ? strangers : 0) }
  }
  const ages = figures.map(({ oldestMs }) => oldestMs ?? 0)
  return {
    ...{ placed, poison, clicksCounted: clicks, oldestWaitingMs: Math.max(0, ...ages) || null },
    services: { order: of('order'), stock: of('stock'), payment: of('payment'), customer: of('customer') },
  }
}

const nothing: ServiceFigures = {
  ...{ effects: 0, waiting: 0, passedOver: 0, doubled: 0, outOfOrder: 0 },
  ...{ unexpected: 0, poisonDead: 0, goodDead: 0 },
}
