import { HoldfastError } from '../../../core/errors.ts'
import { field } from '../rows.ts'

/**
 * Refuses a `tx` that is not an open transaction: its INSERT would commit by itself and survive the caller's rollback.
 * Each client needs its own check.
 */

/** A client of pg, or what TypeORM runs statements with. */
export function requireOpenRunner(tx: unknown): void {
  if (typeof field(tx, 'totalCount') === 'number') refuse('a pool of pg', 'take a client from it and send `begin`')
  if (isFunction(tx, 'createQueryRunner')) refuse('a DataSource of TypeORM', 'use the manager of its transaction()')
  const status = isFunction(tx, 'getTransactionStatus') ? call(tx, 'getTransactionStatus') : undefined
  // A `begin` may still be on its way; then the client is not ready for another query.
  if (status === 'I' && field(tx, 'readyForQuery') !== false)
    refuse('a client of pg without an open transaction', 'send `begin` first')
  if (field(tx, 'isTransactionActive') === false)
    refuse('a QueryRunner of TypeORM without an open transaction', 'call its startTransaction() first')
  const isManager =
    field(tx, 'isTransactionActive') === undefined && isFunction(field(tx, 'connection'), 'createQueryRunner')
  if (isManager && field(field(tx, 'queryRunner'), 'isTransactionActive') !== true)
    refuse('an EntityManager of TypeORM outside of a transaction', 'use the manager of its transaction()')
}

export function requirePostgresJsTransaction(tx: unknown): void {
  if (isFunction(tx, 'begin')) refuse('a pool of postgres.js', 'use the sql that begin() hands over')
}

export function requirePrismaTransaction(tx: unknown): void {
  if (isFunction(tx, '$connect')) refuse('a PrismaClient', 'use the tx that $transaction(async (tx) => …) hands over')
}

export function requireKnexTransaction(trx: unknown): void {
  if (property(trx, 'isTransaction') !== true)
    refuse('Knex outside of a transaction', 'use the trx that transaction() hands over')
  if (isFunction(trx, 'isCompleted') && call(trx, 'isCompleted') === true)
    refuse('a transaction of Knex that has ended', 'add before it commits')
}

export function requireDrizzleTransaction(tx: unknown): void {
  if (!isFunction(tx, 'rollback'))
    refuse('Drizzle outside of a transaction', 'use the tx that transaction() hands over')
}

export function requireKyselyTransaction(trx: unknown): void {
  if (property(trx, 'isTransaction') !== true)
    refuse('Kysely outside of a transaction', 'use the trx that transaction().execute() hands over')
}

function refuse(what: string, instead: string): never {
  throw new HoldfastError(
    'bad-option',
    `outbox: tx must be an open transaction, got ${what}: the message would leave even if you roll back; ${instead}`,
  )
}

/** The clients of postgres.js and Knex are functions. */
function property(of: unknown, name: string): unknown {
  return typeof of === 'function' ? Reflect.get(of, name) : field(of, name)
}

function isFunction(of: unknown, name: string): boolean {
  return typeof property(of, name) === 'function'
}

function call(of: unknown, name: string): unknown {
  const method = property(of, name)
  return typeof method === 'function' ? Reflect.apply(method, of, []) : undefined
}
