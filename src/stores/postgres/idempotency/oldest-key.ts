import { checkOptions, text } from '../../../core/options.ts'
import { explained } from '../failures.ts'
import { quotedSchema } from '../identifiers.ts'
import { checkPool, type Queryable } from '../queryable.ts'
import { field, numberField } from '../rows.ts'

export interface PostgresOldestKeyOptions {
  /** The schema in which `migrate()` made the tables. @defaultValue `'holdfast'` */
  readonly schema?: string
  /** The scope of the keys, if the pipeline's `idempotency()` has one. @defaultValue the pipeline's name */
  readonly scope?: string
}

const where = 'postgresOldestKey'

/**
 * Returns the option `oldestKeyMs` of a replay: when the oldest key that is still remembered was completed, in ms since 1970.
 * `undefined` if no key is. It reads all keys of the scope once.
 */
export function postgresOldestKey(
  pool: Queryable,
  options: PostgresOldestKeyOptions = {},
): (kept: { readonly scope: string; readonly retainMs: number }) => Promise<number | undefined> {
  const { schema = 'holdfast', scope } = checkOptions(where, options, { schema: text, scope: text })
  checkPool(where, pool)
  const table = `${quotedSchema(where, schema)}.idempotency`
  return async function oldestKeyMs(kept) {
    // When a key was completed is not kept, only until when it is remembered.
    const statement = `select extract(epoch from min(retain_until))::float8 * 1000 as until_ms from ${table}
where scope = $1 and state in ('completed', 'failed') and retain_until > clock_timestamp()`
    const { rows } = await pool.query(statement, [scope ?? kept.scope]).catch((error: unknown) => {
      throw explained(where, schema, error)
    })
    const [row] = rows
    return field(row, 'until_ms') === null ? undefined : numberField(row, 'until_ms') - kept.retainMs
  }
}
