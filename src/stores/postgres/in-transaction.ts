import { setTimeout as wait } from 'node:timers/promises'
import {
  staged,
  type Claimed,
  type Delivery,
  type Middleware,
  type Outcome,
  type StatementRunner,
  type Transactional,
} from '../../core/delivery.ts'
import { HoldfastError, isHoldfastError, RetryLater } from '../../core/errors.ts'
import { looksDisconnected, saysServerIsDown, sqlState } from './failures.ts'

/** Opens a transaction, runs `work` in it, commits where that resolved and rolls back where it rejected. */
export type Begin<Tx> = (work: (tx: Tx) => Promise<void>) => Promise<unknown>

export interface InTransactionOptions<Tx> {
  readonly begin: Begin<Tx>
  /** How to run a statement in that transaction. */
  readonly runnerOf: (tx: Tx) => StatementRunner
  /** Whether `begin` rejects where COMMIT turned out to be a ROLLBACK. @defaultValue `false` */
  readonly checksCommit?: boolean
  /** Whether `begin` rejects as soon as its connection closes, even while the work goes on. @defaultValue `false` */
  readonly closesEarly?: boolean
  /** How many transactions can be open at once. */
  readonly poolSize?: number | undefined
}

/**
 * Runs the handler in a transaction of any client: `begin` is how that client opens one. The claim of an `idempotency()`
 * whose store is in the same database is completed inside, so that the effects and the completion commit together.
 */
export function inTransaction<Tx>({
  begin,
  runnerOf,
  checksCommit = false,
  closesEarly = false,
  poolSize,
}: InTransactionOptions<Tx>): Middleware<Transactional<Tx>, Delivery & Partial<Claimed>> {
  const middleware: Middleware<Transactional<Tx>, Delivery & Partial<Claimed>> = (next) =>
    async function transaction(delivery) {
      delivery.signal.throwIfAborted()
      const run: Run = { outcome: 'handled', over: false }

      async function work(tx: Tx): Promise<void> {
        const runner = runnerOf(tx)
        try {
          delivery.signal.throwIfAborted()
          run.outcome = await next({ ...delivery, tx, runner })
          if (run.over) throw new Error('the connection of the transaction was lost')
          // What outlived its signal may have lost its key: nothing of it is to be seen.
          delivery.signal.throwIfAborted()
          if (delivery.claim?.completeIn !== undefined) await delivery.claim.completeIn(runner)
          // Most clients resolve a COMMIT that was a ROLLBACK; any statement in an aborted transaction rejects.
          else if (!checksCommit) await runner.query('select 1', [])
        } catch (error) {
          if (closesEarly && (looksDisconnected(error) || saysServerIsDown(error))) await wait(closeMs)
          run.failure = { error: run.over ? databaseDown(error) : await judged(error, runner, delivery) }
          throw error
        }
      }

      try {
        await begin((tx) => {
          run.working = work(tx)
          // postgres.js answers a rejection with a ROLLBACK, and that, on a connection that is closed, with an exception
          // that ends the process: once it has given up by itself, it is not to hear how the handler ended.
          return run.working.catch((error: unknown) => (run.over ? never : Promise.reject(error)))
        })
      } catch (error) {
        if (run.working === undefined) throw databaseDown(error)
        run.over = true
        // A client may give up as soon as its connection breaks; attempts of one message never overlap.
        await run.working.catch(() => undefined)
        throw run.failure === undefined ? notCommitted(error) : run.failure.error
      }
      // Whatever was aborted meanwhile: it is committed, so it is an ack.
      return run.outcome
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

interface Run {
  outcome: Outcome
  /** `begin` has settled, maybe before the work did. */
  over: boolean
  /** Set as soon as the transaction is open. */
  working?: Promise<void>
  failure?: { readonly error: unknown }
}

const never = new Promise<never>(() => undefined)

// The end of a connection follows the error that announces it.
const closeMs = 20

/** What a failure inside the transaction means: an outage of the database is no attempt of the message. */
async function judged(error: unknown, runner: StatementRunner, { message }: Delivery): Promise<unknown> {
  if (isHoldfastError(error)) return error
  if (saysServerIsDown(error)) return databaseDown(error)
  if (sqlState(error) === '25P02')
    return new HoldfastError(
      'commit-refused',
      `message ${message.id}: a statement of its transaction failed and the handler went on; nothing was committed`,
      { cause: error },
    )
  // The handler may have talked to others than the database: only a connection that is really gone is an outage of it.
  return looksDisconnected(error) && !(await answers(runner)) ? databaseDown(error) : error
}

async function answers(runner: StatementRunner): Promise<boolean> {
  try {
    await runner.query('select 1', [])
    return true
  } catch (error) {
    return sqlState(error) !== undefined && !saysServerIsDown(error)
  }
}

export function databaseDown(cause: unknown): RetryLater {
  return new RetryLater(1000, { holds: 'pipeline', because: 'the database did not answer (transaction)', cause })
}

function notCommitted(error: unknown): unknown {
  if (isHoldfastError(error)) return error
  const state = sqlState(error)
  // 40003: the server itself does not know.
  const refused = state !== undefined && state !== '40003' && !saysServerIsDown(error)
  if (refused) return error
  // It may have happened or not: the next claim of the key says which.
  return new RetryLater(0, { holds: 'lane', because: 'the answer to COMMIT was lost', cause: error })
}
