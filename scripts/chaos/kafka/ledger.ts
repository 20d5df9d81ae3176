import type pg from 'pg'

/** What became of the messages, as the database tells. */
export interface Ledger {
  readonly produced: number
  readonly effects: number
  readonly lost: number
  readonly doubled: number
  readonly outOfOrder: number
}

export async function prepare(pool: pg.Pool, schema: string): Promise<void> {
  await pool.query(`create schema if not exists ${schema}`)
  // No unique key: a doubled effect has to show, not to fail.
  await pool.query(
    `create table ${schema}.effects (seq bigserial, id text not null, key text not null, n int not null, pid int not null)`,
  )
  await pool.query(`create index on ${schema}.effects (id)`)
}

export async function effectsSoFar(pool: pg.Pool, schema: string): Promise<number> {
  const { rows } = await pool.query<{ count: string }>(`select count(distinct id) from ${schema}.effects`)
  return Number(rows[0]?.count ?? 0)
}

// `seq` is drawn inside the transaction that holds the key, so that it has the order of the commits of a key.
const summary = (schema: string): string => `
with counted as (select id, count(*) as times from ${schema}.effects group by id),
  first as (select min(seq) as seq, key, n from ${schema}.effects group by id, key, n),
  ordered as (select n, max(n) over (partition by key order by seq rows between unbounded preceding and 1 preceding) as before from first)
select (select count(*) from ${schema}.effects) as effects,
  (select count(*) from counted) as known,
  (select coalesce(sum(times - 1), 0) from counted) as doubled,
  (select count(*) from ordered where before > n) as out_of_order`

export async function ledgerOf(pool: pg.Pool, schema: string, produced: number): Promise<Ledger> {
  const { rows } = await pool.query<{ effects: string; known: string; doubled: string; out_of_order: string }>(
    summary(schema),
  )
  const [row] = rows
  return {
    produced,
    effects: Number(row?.effects),
    lost: produced - Number(row?.known),
    doubled: Number(row?.doubled),
    outOfOrder: Number(row?.out_of_order),
  }
}
