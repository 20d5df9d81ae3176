import type { Pool } from 'pg'

/** What the tables say at the end. */
export interface Audit {
  readonly events: number
  readonly paid: number
  readonly refused: number
  /** Streams whose versions are not 1, 2, 3, … */
  readonly broken: number
  readonly overdrawn: number
  /** Cards whose view is not what their events say. */
  readonly wrongViews: number
  /** Payments in the takings of the day, less those in the streams. */
  readonly takingsOff: number
}

const sql = (schema: string): string => `
with stream as (
  select stream, count(*) as events, count(distinct version) as versions, max(version) as newest,
    sum(case type when 'topped-up' then (data ->> 'cents')::int when 'paid' then -(data ->> 'cents')::int else 0 end) as cents
  from ${schema}.event group by stream)
select (select count(*) from ${schema}.event)::int as events,
  (select count(*) from ${schema}.event where type = 'paid')::int as paid,
  (select count(*) from ${schema}.event where type = 'payment-refused')::int as refused,
  (select count(*) from stream where events <> newest or versions <> newest)::int as broken,
  (select count(*) from stream where cents < 0)::int as overdrawn,
  (select count(*) from stream s left join ${schema}.card_view v on v.card = s.stream
    where v.cents is distinct from s.cents or v.events is distinct from s.events)::int as "wrongViews",
  (coalesce((select sum(payments) from ${schema}.takings), 0)
    - (select count(*) from ${schema}.event where type = 'paid'))::int as "takingsOff"`

export async function audit(pool: Pool, schema: string): Promise<Audit> {
  const { rows } = await pool.query<Audit>(sql(schema))
  const [row] = rows
  if (row === undefined) throw new Error('the audit has no answer')
  return row
}

export function isKept({ events, broken, overdrawn, wrongViews, takingsOff }: Audit, commands: number): boolean {
  return events === commands && broken + overdrawn + wrongViews === 0 && takingsOff === 0
}
