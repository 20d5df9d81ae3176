import type { StatementRunner } from '../../core/delivery.ts'
import type { Queryable } from './queryable.ts'
import { field, numberField } from './rows.ts'
import { statementName } from './statement-name.ts'

/** What holdfast needs of a postgres.js `sql` or its transaction. */
export interface PostgresjsSlice {
  unsafe(text: string, values?: (string | number | null)[]): PromiseLike<readonly unknown[]>
}

/** What holdfast needs of a Kysely transaction. */
export interface KyselySlice {
  executeQuery(query: KyselyQuery): Promise<{ readonly rows: readonly unknown[]; readonly numAffectedRows?: bigint }>
}
/** As `CompiledQuery.raw` makes them. */
export interface KyselyQuery {
  readonly sql: string
  readonly parameters: readonly unknown[]
  readonly query: { readonly kind: 'RawNode'; readonly sqlFragments: readonly string[]; readonly parameters: never[] }
  readonly queryId: { readonly queryId: string }
}

/** What holdfast needs of a Drizzle transaction on any driver. */
export interface DrizzleSlice {
  execute(text: string): PromiseLike<unknown>
}

/** A pool or a client of pg, which can name its statements. */
export interface NamedQueryable {
  query(statement: { name: string; text: string; values: unknown[] }): Promise<{
    readonly rows: readonly unknown[]
    readonly rowCount: number | null
  }>
}

/**
 * Runs prepared statements on a pool of pg: `postgresIdempotencyStore(preparedRunner(pool))`. PostgreSQL then parses a claim
 * once per connection. Parsing every time is half of a claim's cost.
 * Behind pgbouncer in transaction mode it needs 1.21 or newer, with `max_prepared_statements` above 0.
 */
export function preparedRunner(pool: NamedQueryable): StatementRunner {
  return { query: (text, values) => pool.query({ name: statementName(text), text, values }) }
}

/** The same in one transaction of pg: its client takes a statement with a name too. */
export function preparedTransaction(tx: Queryable): StatementRunner {
  const query: unknown = tx.query.bind(tx)
  return preparedRunner({ query: query as NamedQueryable['query'] })
}

/** Runs the statements of the idempotency store on postgres.js: `postgresIdempotencyStore(postgresjsRunner(sql))`. */
export function postgresjsRunner(sql: PostgresjsSlice): StatementRunner {
  return {
    async query(text, values) {
      const rows = await sql.unsafe(text, values.map(sendable))
      return { rows, rowCount: countIn(rows, 'count') }
    },
  }
}

/**
 * Lists travel as PostgreSQL writes them: with `fetch_types: false`, as poolers and serverless platforms want it,
 * postgres.js does not know the array types.
 */
function sendable(value: unknown): string | number | null {
  return Array.isArray(value) ? `{${value.map(element).join(',')}}` : (value as string | number | null)
}

function element(value: unknown): string {
  if (typeof value === 'string') return `"${value.replaceAll(/["\\]/g, '\\$&')}"`
  return typeof value === 'number' || typeof value === 'bigint' ? String(value) : 'null'
}

export function kyselyRunner(tx: KyselySlice): StatementRunner {
  return {
    async query(sql, parameters) {
      const { rows, numAffectedRows } = await tx.executeQuery({
        sql,
        parameters,
        query: { kind: 'RawNode', sqlFragments: [sql], parameters: [] },
        queryId: { queryId: 'holdfast' },
      })
      return { rows, rowCount: numAffectedRows === undefined ? rows.length : Number(numAffectedRows) }
    },
  }
}

/** Drizzle takes parameters only through its own `sql`, which is not ours to import: the values stand in the text. */
export function drizzleRunner(tx: DrizzleSlice): StatementRunner {
  return {
    async query(text, values) {
      const result = await tx.execute(withLiterals(text, values))
      return { rows: rowsIn(result), rowCount: countIn(result, 'rowCount') ?? countIn(result, 'count') }
    },
  }
}

/**
 * A statement with its values written into it. Text goes as the hex digits of its bytes: there is nothing in them that
 * any setting or encoding of a connection could take for the end of a literal.
 */
export function withLiterals(text: string, values: readonly unknown[]): string {
  return text.replace(/\$(\d+)/g, (_, place: string) => literal(values[Number(place) - 1]))
}

function literal(value: unknown): string {
  if (value === null || value === undefined) return 'null'
  if (typeof value === 'bigint' || (typeof value === 'number' && Number.isFinite(value))) return `(${value})`
  if (typeof value !== 'string') throw new TypeError(`a value of type ${typeof value} has no literal`)
  return `pg_catalog.convert_from(pg_catalog.decode('${Buffer.from(value).toString('hex')}', 'hex'), 'UTF8')`
}

/** postgres.js answers with the rows themselves. */
function rowsIn(result: unknown): readonly unknown[] {
  const rows = Array.isArray(result) ? result : field(result, 'rows')
  return Array.isArray(rows) ? (rows as readonly unknown[]) : []
}

function countIn(result: unknown, name: string): number | null {
  const count = numberField(result, name)
  return Number.isNaN(count) ? null : count
}
