import type { Pool } from 'pg'

export const sagaTables = (schema: string, bags: number): string => `
create table ${schema}.saga (order_id text primary key, state text not null);
create table ${schema}.shelf (bags int not null);
insert into ${schema}.shelf values (${bags});
create table ${schema}.movement (order_id text not null, bags int not null);
create table ${schema}.payment (order_id text not null, cents int not null)`

/** What the tables say at the end. */
export interface Audit {
  readonly done: number
  readonly calledOff: number
  readonly refunded: number
  readonly returned: number
  /** Sagas that are neither done nor called off. */
  readonly stuck: number
  /** Done, and not one bag taken and one charge made; or called off, and something was kept. */
  readonly wrongStock: number
  readonly wrongMoney: number
  /** Bags on the shelf, less those that should be there. */
  readonly shelfOff: number
}

const sql = (schema: string): string => `
with saga as (
  select s.*, coalesce((select sum(bags) from ${schema}.movement m where m.order_id = s.order_id), 0) as bags,
    coalesce((select sum(cents) from ${schema}.payment p where p.order_id = s.order_id), 0) as cents
  from ${schema}.saga s)
select count(*) filter (where state = 'done')::int as done,
  count(*) filter (where state = 'called-off')::int as "calledOff",
  count(*) filter (where state not in ('done', 'called-off'))::int as stuck,
  (select count(*) from ${schema}.payment where cents < 0)::int as refunded,
  (select count(*) from ${schema}.movement where bags > 0)::int as returned,
  count(*) filter (where bags <> case state when 'done' then -1 else 0 end)::int as "wrongStock",
  count(*) filter (where cents <> case state when 'done' then 390 else 0 end)::int as "wrongMoney",
  ((select bags from ${schema}.shelf) - $1 + count(*) filter (where state = 'done'))::int as "shelfOff"
from saga`

export async function audit(pool: Pool, schema: string, bags: number): Promise<Audit> {
  const { rows } = await pool.query<Audit>(sql(schema), [bags])
  const [row] = rows
  if (row === undefined) throw new Error('the audit has no answer')
  return row
}

export function isKept({ done, calledOff, stuck, wrongStock, wrongMoney, shelfOff }: Audit, orders: number): boolean {
  return done + calledOff === orders && stuck + wrongStock + wrongMoney === 0 && shelfOff === 0
}
