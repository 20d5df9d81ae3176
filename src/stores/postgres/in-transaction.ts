import {
  staged,
  type Claimed,
  type Delivery,
  type Middleware,
  type Outcome,
  type StatementRunner,
  type Transactional,
} from '../../core/delivery.ts'
import { isOpenIn, openTransaction, type Begin, type Session } from './sessions.ts'
import { transactionEnded, transactionFailures } from './transaction-failures.ts'
import { callback, checkOptions, count, flag, required } from '../../core/options.ts'

export type { Begin } from './sessions.ts'

export interface InTransactionOptions<Tx> {
  readonly begin: Begin<Tx>
  /** Returns how to run a statement in that transaction. */
  readonly runnerOf: (tx: Tx) => StatementRunner
  /** Whether `begin` rejects when PostgreSQL answers COMMIT with a rollback. @defaultValue `false` */
  readonly checksCommit?: boolean
  /** Whether `begin` rejects as soon as its connection closes, even while the work goes on. @defaultValue `false` */
  readonly closesEarly?: boolean
  /** Whether `begin` ends a connection that has become read-only, instead of giving it back. @defaultValue `false` */
  readonly endsReadOnly?: boolean
  /** Most transactions open at once: the size of the pool. */
  readonly poolSize?: number | undefined
  /**
   * Whether the transaction is still open, if the client knows that without a query.
   * @defaultValue the server is asked when needed
   */
  readonly isOpen?: (tx: Tx) => boolean | undefined
}

/**
 * Runs the handler in a transaction of any client. `begin` opens the transaction. If the store of `idempotency()` is in the
 * same database, the claim is completed in it: the effects and the completion commit together.
 */
export function inTransaction<Tx>(
  options: InTransactionOptions<Tx>,
): Middleware<Transactional<Tx>, Delivery & Partial<Claimed>> {
  const {
    begin,
    runnerOf,
    checksCommit = false,
    closesEarly = false,
    endsReadOnly = false,
    poolSize,
    isOpen = () => undefined,
  } = checkOptions('inTransaction', options, {
    begin: required(callback),
    runnerOf: required(callback),
    checksCommit: flag,
    closesEarly: flag,
    endsReadOnly: flag,
    poolSize: count(),
    isOpen: callback,
  })
  const failures = transactionFailures({ begin, runnerOf, closesEarly, endsReadOnly })

  const middleware: Middleware<Transactional<Tx>, Delivery & Partial<Claimed>> = (next, place) => {
    const retried = place?.outside.some(({ name }) => name === 'retry') ?? false

    return async function transaction(delivery) {
      delivery.signal.throwIfAborted()
      let outcome: Outcome = 'handled'

      async function work(tx: Tx, session: Session): Promise<void> {
        const runner = runnerOf(tx)
        try {
          delivery.signal.throwIfAborted()
          const fence = await delivery.claim?.claimIn?.(runner)
          outcome = await next({ ...delivery, ...(fence !== undefined && { fence }), tx, runner })
          if (session.over) throw new Error('the connection of the transaction was lost')
          // What outlived its signal may have lost its key: nothing of it is to be seen.
          delivery.signal.throwIfAborted()
          if (delivery.claim?.completeIn !== undefined) await delivery.claim.completeIn(runner)
          // Most clients resolve a COMMIT that was a ROLLBACK; any statement in an aborted transaction rejects.
          else if (!checksCommit && !(await isOpenIn(runner))) throw transactionEnded(delivery)
          if (isOpen(tx) === false) throw transactionEnded(delivery)
        } catch (error) {
          const means = await failures.within(error, { runner, session, isOpen: isOpen(tx) })
          session.failure = { error, means }
          throw error
        }
      }

      const session = await openTransaction(begin, work)
      // It is committed, so it is an ack, even if the signal aborted meanwhile.
      if (session.rejection === undefined) return outcome
      throw await failures.verdict(session, delivery, retried)
    }
  }

  return staged(middleware, {
    name: 'transaction',
    facts: { database: 'postgresql', ...(poolSize !== undefined && { poolSize }) },
    wantsOutside: {
      idempotency: 'the completion must commit together with the effects',
      retry: 'every attempt needs a transaction of its own',
      timeout: 'a handler that is given up would go on in a connection that others use',
    },
    excludes: { transaction: 'two transactions do not commit together' },
  })
}
