import { checkOptions, ms, text } from '../../../core/options.ts'
import type { Limits } from '../../../retry/store.ts'
import { quotedSchema } from '../identifiers.ts'
import { checkPool, type Queryable } from '../queryable.ts'
import { numberField } from '../rows.ts'
import { sharedRows } from '../shared-rows.ts'
import { limitStatements } from './statements.ts'

export interface PostgresLimitsOptions {
  /** The schema in which `migrate()` made the tables. @defaultValue `'holdfast'` */
  readonly schema?: string
  /** Length of a lease of places in ms: the places of a process that died are free after it. @defaultValue 10_000 */
  readonly leaseMs?: number
}

const where = 'postgresLimits'
// It is renewed five times, and each renewal is a write.
const leastLeaseMs = 250

/**
 * Shares rates, retry budgets and places in PostgreSQL: one row and one statement each. It works behind pgbouncer in
 * transaction mode. Each token and each lot of places is a small write, so it is for hundreds of them a second, not more.
 */
export function postgresLimits(pool: Queryable, options: PostgresLimitsOptions = {}): Limits {
  const { schema = 'holdfast', leaseMs = 10_000 } = checkOptions(where, options, {
    schema: text,
    leaseMs: ms(leastLeaseMs),
  })
  checkPool(where, pool)
  const { takeSql, holdSql, cleanSql } = limitStatements(quotedSchema(where, schema))
  const { run, clean } = sharedRows({ pool, where, schema, cleanSql })

  return {
    name: 'postgresql',
    leaseMs,
    async take(limit, { count, perSecond, burst, aheadMs, earned }) {
      const [row] = await run(takeSql, [limit, count, perSecond, burst, aheadMs, earned])
      clean()
      return { taken: numberField(row, 'taken'), inMs: numberField(row, 'in_ms') }
    },
    async hold(limit, { owner, held, want, max, leaseMs: forMs }) {
      const [row] = await run(holdSql, [limit, owner, held, want, max, Math.ceil(forMs)])
      clean()
      return numberField(row, 'granted')
    },
  }
}
