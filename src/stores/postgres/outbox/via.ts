import { statementName } from '../statement-name.ts'
import {
  requireDrizzleTransaction,
  requireKnexTransaction,
  requireKyselyTransaction,
  requireOpenRunner,
  requirePostgresJsTransaction,
  requirePrismaTransaction,
} from './transactions.ts'

/** A value of an INSERT into the outbox. Every placeholder has a cast, so the client need not know the types. */
export type OutboxValue = string | Uint8Array | null

/** Runs one statement with `$1`, `$2`, … in the caller's transaction. */
export type Via<Tx> = (tx: Tx, text: string, values: OutboxValue[]) => PromiseLike<unknown>

/** An object with `query(text, values)`: a client of pg, or an EntityManager or QueryRunner of TypeORM. */
export interface QueryRunner extends NoPool {
  query(text: string, values: OutboxValue[]): PromiseLike<unknown>
}

/** Excludes pools of pg and DataSources of TypeORM. Their statements are not part of a transaction. */
export interface NoPool {
  readonly totalCount?: never
  readonly createQueryRunner?: never
}

/** For pg, TypeORM and other clients with `query(text, values)`. */
export const viaQuery: Via<QueryRunner> = (tx, text, values) => viaAnyQuery(tx, text, values)

/** The same for a `tx` whose type does not show `query`. */
export const viaAnyQuery: Via<unknown> = (tx, text, values) => {
  if (!canQuery(tx)) throw new TypeError('outbox: tx has no query(): give the option via')
  requireOpenRunner(tx)
  return tx.query(text, values)
}

/** A client of pg, which can name its statements. */
export interface PreparingRunner extends NoPool {
  query(statement: { name: string; text: string; values: OutboxValue[] }): PromiseLike<unknown>
}

/**
 * For pg, with a prepared statement per message. PostgreSQL parses and plans it once per connection, not every time.
 * Behind pgbouncer in transaction mode it needs 1.21 or newer, with `max_prepared_statements` above 0.
 */
export const viaPrepared: Via<PreparingRunner> = (tx, text, values) => {
  requireOpenRunner(tx)
  // Many messages are a text of their own for each number: each would stay with the connection.
  return tx.query({ name: values.length <= 7 ? statementName(text) : '', text, values })
}

/** postgres.js: `sql.begin((tx) => outbox.add(tx, …))`. */
export const viaPostgresJs: Via<PostgresJsSlice> = (tx, text, values) => {
  requirePostgresJsTransaction(tx)
  return tx.unsafe(text, values)
}

/** A transaction of postgres.js has no `begin`; a reserved connection, in which you send `begin` yourself, has `release`. */
export type PostgresJsSlice = {
  unsafe(text: string, values: OutboxValue[]): PromiseLike<unknown>
} & ({ readonly begin?: never } | { release(): void })

/** Prisma: `prisma.$transaction((tx) => outbox.add(tx, …))`. */
export const viaPrisma: Via<PrismaTransactionSlice> = (tx, text, values) => {
  requirePrismaTransaction(tx)
  return tx.$executeRawUnsafe(text, ...values)
}

/** A transaction of Prisma cannot connect; its client can. */
export interface PrismaTransactionSlice {
  $executeRawUnsafe(text: string, ...values: OutboxValue[]): PromiseLike<unknown>
  readonly $connect?: never
}

/** Knex: `knex.transaction((trx) => outbox.add(trx, …))`. */
export const viaKnex: Via<KnexSlice> = (trx, text, values) => {
  requireKnexTransaction(trx)
  const { parts, used } = split(text, values)
  return trx.raw(parts.join('?'), used)
}

/** Knex's bindings know Buffers, not bare byte arrays. Only a transaction of it can be completed. */
export interface KnexSlice {
  raw(text: string, values: readonly (string | Buffer | null)[]): PromiseLike<unknown>
  isCompleted(): boolean
}

/** Drizzle, given its own `sql`: `via: viaDrizzle(sql)`. */
export function viaDrizzle<Query>(sql: Template<Query>): Via<DrizzleTransactionSlice<Query>> {
  return (tx, text, values) => {
    requireDrizzleTransaction(tx)
    return tx.execute(templated(sql, text, values))
  }
}

/** Only a transaction of Drizzle can be rolled back. */
export interface DrizzleTransactionSlice<Query> {
  execute(query: Query): PromiseLike<unknown>
  rollback(): never
}

/** Kysely, given its own `sql`: `via: viaKysely(sql)`. */
export function viaKysely<Executor>(
  sql: Template<{ execute(executor: Executor): PromiseLike<unknown> }>,
): Via<Executor & { readonly isTransaction: true }> {
  return (trx, text, values) => {
    requireKyselyTransaction(trx)
    return templated(sql, text, values).execute(trx)
  }
}

/** A template tag: `` sql`…${value}…` ``. */
export type Template<Query> = (strings: TemplateStringsArray, ...values: (string | Buffer | null)[]) => Query

function templated<Query>(sql: Template<Query>, text: string, values: readonly OutboxValue[]): Query {
  const { parts, used } = split(text, values)
  return sql(Object.assign(parts, { raw: parts }), ...used)
}

/** Cuts a statement at its placeholders; one that stands twice gets its value twice. */
function split(text: string, values: readonly OutboxValue[]): { parts: string[]; used: (string | Buffer | null)[] } {
  const used: (string | Buffer | null)[] = []
  const parts: string[] = []
  let from = 0
  for (const match of text.matchAll(/\$(\d+)/g)) {
    const value = values[Number(match[1]) - 1] ?? null
    parts.push(text.slice(from, match.index))
    used.push(value instanceof Uint8Array ? asBuffer(value) : value)
    from = match.index + match[0].length
  }
  return { parts: [...parts, text.slice(from)], used }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function canQuery(tx: unknown): tx is QueryRunner {
  return typeof tx === 'object' && tx !== null && 'query' in tx && typeof tx.query === 'function'
}
