import { sleep, systemClock } from '../../core/clock.ts'
import type { Delivery, StatementRunner } from '../../core/delivery.ts'
import {
  HoldfastError,
  isAbandoned,
  isHoldfastError,
  isPermanent,
  isRetryLater,
  RetryLater,
  textOf,
} from '../../core/errors.ts'
import { isReadTimeout, looksDisconnected, sqlFault, sqlState } from './failures.ts'
import {
  answers,
  closeMs,
  endReadOnly,
  isOpenIn,
  worksForOthers,
  type DatabaseProbe,
  type Means,
  type Session,
} from './sessions.ts'

export interface TransactionFailures {
  /** What a failure means, asked while the connection of the transaction is still ours. */
  within(error: unknown, where: Within): Promise<Means>
  /** What the delivery ends with, once the transaction is over and its connection is given back. */
  verdict(session: Session, delivery: Delivery, retried: boolean): Promise<unknown>
}

export interface Within {
  readonly runner: StatementRunner
  readonly session: Session
  /** What the client knows without asking. */
  readonly isOpen: boolean | undefined
}

/** Tells the faults of a message from those of the database: `docs/failure-policies.md` has the table. */
export function transactionFailures<Tx>(
  probe: DatabaseProbe<Tx> & { readonly closesEarly: boolean; readonly endsReadOnly: boolean },
): TransactionFailures {
  async function within(error: unknown, { runner, session, isOpen }: Within): Promise<Means> {
    const fault = sqlFault(error)
    const disconnected = fault === 'session' || looksDisconnected(error)
    // The end of a connection follows the error that announces it.
    if (probe.closesEarly && disconnected) await sleep(systemClock, closeMs)
    if (session.over) return 'session-lost'
    if (isAbandoned(error)) return 'itself'
    // The handler may have talked to others than the database: only a connection that is really gone is lost.
    if (disconnected) return isReadTimeout(error) || !(await answers(runner)) ? 'session-lost' : 'itself'
    if (isOpen === false) return 'ended'
    if (fault === 'infrastructure') return 'infrastructure'
    if (isOpen === undefined && (await hasEnded(runner))) return 'ended'
    return sqlState(error) === '25P02' ? 'aborted' : 'itself'
  }

  async function verdict(session: Session, delivery: Delivery, retried: boolean): Promise<unknown> {
    const { failure, rejection } = session
    if (!session.opened) return databaseDown(rejection?.error)
    if (failure === undefined) return notCommitted(rejection?.error, session, delivery, retried)
    const { error, means } = failure
    if (means === 'ended') return transactionEnded(delivery, error)
    // What says by itself what is to happen next is not overruled.
    if (isRetryLater(error) || isPermanent(error)) return error
    if (means === 'infrastructure') {
      if (!probe.endsReadOnly && sqlState(error) === '25006') await endReadOnly(probe)
      return databaseDown(error)
    }
    if (means === 'aborted') return aborted(delivery, error)
    return means === 'itself' ? error : lost(error, session, delivery, retried)
  }

  async function lost(error: unknown, { sinceMs, rejection }: Session, delivery: Delivery, retried: boolean) {
    if (!(await worksForOthers(probe, sinceMs))) return databaseDown(error)
    return sessionLost(delivery, retried, isReadTimeout(error) ? error : (rejection?.error ?? error))
  }

  /** COMMIT was sent, and what came back was no yes. */
  async function notCommitted(
    error: unknown,
    session: Session,
    delivery: Delivery,
    retried: boolean,
  ): Promise<unknown> {
    if (isHoldfastError(error))
      return error.code === 'session-lost' ? lost(error.cause, session, delivery, retried) : error
    const fault = sqlFault(error)
    if (fault === 'infrastructure') return databaseDown(error)
    // 40003: the server itself does not know.
    if (fault !== undefined && fault !== 'session' && sqlState(error) !== '40003') return error
    // It may have happened or not: the next claim of the key says which.
    return new RetryLater(0, {
      holds: 'lane',
      because: `message ${delivery.message.id}: the answer to COMMIT was lost`,
      counts: await worksForOthers(probe, session.sinceMs),
      cause: error,
    })
  }

  return { within, verdict }
}

/** An aborted transaction rejects every statement, and is open until it is rolled back. */
async function hasEnded(runner: StatementRunner): Promise<boolean> {
  try {
    return !(await isOpenIn(runner))
  } catch {
    return false
  }
}

export function databaseDown(cause: unknown): RetryLater {
  return new RetryLater(1000, { holds: 'pipeline', because: 'the database did not answer (transaction)', cause })
}

/** Final: what was committed before it would be committed again, and what was rolled back is gone. */
export function transactionEnded({ message }: Delivery, cause?: unknown): HoldfastError {
  return new HoldfastError(
    'transaction-ended',
    `message ${message.id}: the handler ended its transaction by itself (commit or rollback on tx); ` +
      'leave both to the pipeline, and throw to roll back',
    { cause },
  )
}

function aborted({ message }: Delivery, cause: unknown): HoldfastError {
  return new HoldfastError(
    'commit-refused',
    `message ${message.id}: a statement of its transaction failed and the handler went on; nothing was committed`,
    { cause },
  )
}

/** The database answers others, so it is this message that lost its session: as often as attempts are allowed. */
function sessionLost({ message }: Delivery, retried: boolean, cause: unknown): HoldfastError {
  const what = `message ${message.id}: its transaction lost the database session while others are answered`
  if (retried) return new HoldfastError('session-lost', `${what}: ${textOf(cause).errorMessage}`, { cause })
  // No stage would try again: the message waits, and the next claim counts.
  return new RetryLater(1000, { because: what, counts: true, cause })
}
