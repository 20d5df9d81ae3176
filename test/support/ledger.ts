import pg from 'pg'
import type { StatementRunner } from '../../src/core/delivery.ts'
import { migrate } from '../../src/stores/postgres/index.ts'
import { uniqueName } from './unique-name.ts'

/** The effects of a run, in a table, and what they say: how many were lost, how many happened twice. */
export interface Ledger {
  /** Holds our tables too. */
  readonly schema: string
  /** A pool of the ledger's own, that no fault is in the way of. */
  readonly pool: pg.Pool
  /** Writes an effect: in the handler's transaction, or by itself. */
  effect(runner: StatementRunner, id: string): Promise<unknown>
  /** `sent` is every message that the broker took, all of them settled by now. */
  count(
    sent: readonly string[],
  ): Promise<{ readonly messages: number; readonly lost: number; readonly doubled: number }>
  dispose(): Promise<void>
}

/** A schema of its own with our tables and one of effects. */
export async function openLedger(url: string): Promise<Ledger> {
  const schema = uniqueName('chaos')
  const pool = new pg.Pool({ connectionString: url, max: 2 })
  pool.on('error', () => {})
  await migrate(pool, { schema })
  // No unique key: a doubled effect has to show, not to fail.
  await pool.query(`create table ${schema}.effects (seq bigserial, id text not null)`)
  return {
    schema,
    pool,
    effect: effectIn(schema),
    async count(sent) {
      const { rows } = await pool.query<{ id: string; times: string }>(
        `select id, count(*) as times from ${schema}.effects group by id`,
      )
      const times = new Map(rows.map((row) => [row.id, Number(row.times)]))
      return {
        messages: sent.length,
        lost: sent.filter((id) => !times.has(id)).length,
        doubled: rows.reduce((sum, row) => sum + Number(row.times) - 1, 0),
      }
    },
    async dispose() {
      await pool.query(`drop schema if exists ${schema} cascade`).catch(() => {})
      await pool.end()
    },
  }
}

/** For a process that was only told the schema. */
export function effectIn(schema: string): Ledger['effect'] {
  const text = `insert into ${schema}.effects (id) values ($1)`
  return (runner, id) => runner.query(text, [id])
}
