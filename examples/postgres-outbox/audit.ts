import type { Pool } from 'pg'

/** What the tables say at the end. */
export interface Audit {
  readonly placed: number
  readonly charged: number
  readonly missing: number
  readonly doubled: number
  /** Charges for an order that was rolled back. */
  readonly invented: number
  readonly outOfOrder: number
}

export async function audit(pool: Pool, schema: string): Promise<Audit> {
  const { rows } = await pool.query<Record<keyof Audit, number>>(`
    select (select count(*) from ${schema}.orders)::int as placed,
      (select count(*) from ${schema}.charge)::int as charged,
      (select count(*) from ${schema}.orders o where not exists (select from ${schema}.charge c where c.order_id = o.id))::int as missing,
      (select count(*) - count(distinct order_id) from ${schema}.charge)::int as doubled,
      (select count(*) from ${schema}.charge c where not exists (select from ${schema}.orders o where o.id = c.order_id))::int as invented,
      (select count(*) from (select number, lag(number) over (partition by customer order by seq) as before
        from ${schema}.charge) c where number < before)::int as "outOfOrder"`)
  const [row] = rows
  if (row === undefined) throw new Error('the audit has no answer')
  return row
}

export function isKept({ missing, doubled, invented, outOfOrder }: Audit): boolean {
  return missing + doubled + invented + outOfOrder === 0
}
