import type { Claimed, Delivery, Middleware, Transactional } from '../../core/delivery.ts'
import { HoldfastError, isAbandoned } from '../../core/errors.ts'
import { checkOptions, flag, having } from '../../core/options.ts'
import { checkClient } from '../clients.ts'
import { isReadTimeout, sqlFault } from './failures.ts'
import { inTransaction, type Begin } from './in-transaction.ts'
import type { PoolClientSlice, PoolSlice } from './queryable.ts'
import {
  drizzleRunner,
  kyselyRunner,
  preparedTransaction,
  postgresjsRunner,
  type DrizzleSlice,
  type KyselySlice,
  type PostgresjsSlice,
} from './runners.ts'

/** The type of a transaction stage. */
export type TransactionMiddleware<Tx> = Middleware<Transactional<Tx>, Delivery & Partial<Claimed>>

export interface TransactionOptions {
  /**
   * Sends the statements of holdfast, and those of `delivery.runner`, as prepared statements: PostgreSQL parses each once per
   * connection. Behind pgbouncer in transaction mode it needs 1.21 or newer, with `max_prepared_statements` above 0.
   * @defaultValue `false`
   */
  readonly prepared?: boolean
}

/**
 * Runs the handler in a transaction of node-postgres. `tx` is the client. The handler's effects and the completion of the
 * claim commit together, or roll back together.
 * @throws RetryLater when the database is down, or the answer to COMMIT was lost.
 * @throws HoldfastError `commit-refused` when the handler ignored an error that had aborted the transaction;
 * `transaction-ended` (final) when the handler ran COMMIT or ROLLBACK itself; `session-lost` when the session ended while
 * the database answers others.
 */
export function transaction<Client extends PoolClientSlice>(
  pool: PoolSlice<Client>,
  options: TransactionOptions = {},
): TransactionMiddleware<Client> {
  const { prepared = false } = checkOptions('transaction', options, { prepared: flag })
  checkClient('transaction', 'pool', pool, having('connect'), {
    not: ['a single client of pg'],
    instead: {
      'a single client of pg': 'every transaction needs a connection of its own, give a pool',
      'the sql of postgres.js': 'use postgresjsTransaction(sql)',
      Drizzle: 'use drizzleTransaction(db)',
      Kysely: 'use kyselyTransaction(db)',
    },
  })
  return inTransaction<Client>({
    begin: beginOn(pool),
    runnerOf: prepared ? preparedTransaction : (tx) => tx,
    checksCommit: true,
    endsReadOnly: true,
    poolSize: pool.options?.max,
    isOpen,
  })
}

/** The same as {@link transaction} for Drizzle on any PostgreSQL driver. `tx` is Drizzle's own. */
export function drizzleTransaction<Tx extends DrizzleSlice>(db: {
  transaction<T>(work: (tx: Tx) => Promise<T>): Promise<T>
}): TransactionMiddleware<Tx> {
  checkClient('drizzleTransaction', 'db', db, having('transaction'), { not: ['Kysely', 'Knex'] })
  return inTransaction<Tx>({ begin: (work) => db.transaction(work), runnerOf: drizzleRunner, closesEarly: true })
}

/** The same as {@link transaction} for Kysely. `tx` is its `Transaction`. */
export function kyselyTransaction<Tx extends KyselySlice>(db: {
  transaction(): { execute<T>(work: (tx: Tx) => Promise<T>): Promise<T> }
}): TransactionMiddleware<Tx> {
  checkClient('kyselyTransaction', 'db', db, having('transaction'), { not: ['Drizzle', 'Knex'] })
  return inTransaction<Tx>({ begin: (work) => db.transaction().execute(work), runnerOf: kyselyRunner })
}

/** The same as {@link transaction} for postgres.js. `tx` is its `TransactionSql`. */
export function postgresjsTransaction<Tx extends PostgresjsSlice>(sql: {
  begin<T>(work: (tx: Tx) => Promise<T>): Promise<unknown>
  begin<T>(options: string, work: (tx: Tx) => Promise<T>): Promise<unknown>
  readonly options?: { readonly max?: number }
}): TransactionMiddleware<Tx> {
  checkClient('postgresjsTransaction', 'sql', sql, having('begin', 'unsafe'))
  return inTransaction<Tx>({
    begin: (work) => sql.begin(work),
    runnerOf: postgresjsRunner,
    closesEarly: true,
    poolSize: sql.options?.max,
  })
}

/** Opens transactions on a pool of pg, and never lends a connection again that must not be. */
export function beginOn<Client extends PoolClientSlice>(pool: PoolSlice<Client>): Begin<Client> {
  return async function begin(work, signal) {
    const tx = await pool.connect()
    const giveBack = once((broken) => tx.release(broken))
    const end = (): void => giveBack(true)
    signal?.addEventListener('abort', end)
    // A connection that breaks between two queries says so by this event, which would end the process if nobody
    // listened; the next query says it too.
    let gone: Error | undefined
    const lost = (error: Error): void => {
      gone = error
    }
    tx.on('error', lost)
    let broken = true
    try {
      signal?.throwIfAborted()
      await tx.query('begin', [])
      try {
        await work(tx)
      } catch (error) {
        // An abandoned handler still uses the client: end its connection under it. A rollback that fails changes
        // nothing, since the connection ends and the transaction with it.
        if (!isAbandoned(error) && !isUnfit(error)) broken = await tx.query('rollback', []).then(isOver, stillOpen)
        throw error
      }
      // A COMMIT that cannot be sent did not happen: that much is known.
      if (gone !== undefined)
        throw new HoldfastError('session-lost', `the session ended before COMMIT: ${gone.message}`, { cause: gone })
      const { command } = await tx.query('commit', []).catch((error: unknown) => {
        broken = isUnfit(error) || sqlFault(error) === undefined
        throw error
      })
      broken = false
      if (command !== undefined && command !== 'COMMIT')
        throw new HoldfastError('commit-refused', `the database answered ${command} to COMMIT: a statement had failed`)
    } finally {
      signal?.removeEventListener('abort', end)
      tx.off('error', lost)
      giveBack(broken)
    }
  }
}

/** What the client was told with its last answer: `I` for idle. pg has it, at no cost. */
function isOpen(tx: PoolClientSlice): boolean | undefined {
  const status = tx.getTransactionStatus?.()
  return status === undefined || status === null ? undefined : status !== 'I'
}

/** A connection that must not be lent again: its server is no writer any more, or it is still busy with a query. */
function isUnfit(error: unknown): boolean {
  const fault = sqlFault(error)
  return fault === 'infrastructure' || fault === 'session' || isReadTimeout(error)
}

function once(release: (broken: boolean) => void): (broken: boolean) => void {
  let released = false
  return (broken) => {
    if (released) return
    released = true
    release(broken)
  }
}

const isOver = (): boolean => false
const stillOpen = (): boolean => true
