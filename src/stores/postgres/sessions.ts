import { sleep, systemClock } from '../../core/clock.ts'
import type { StatementRunner } from '../../core/delivery.ts'
import { looksDisconnected, sqlFault, sqlState } from './failures.ts'
import { textField, numberField } from './rows.ts'

/**
 * Opens a transaction, runs `work` in it, commits where that resolved and rolls back where it rejected. A client that can
 * ends the connection where `signal` aborts.
 */
export type Begin<Tx> = (work: (tx: Tx) => Promise<void>, signal?: AbortSignal) => Promise<unknown>

/** One transaction on one connection: what happened in it. */
export interface Session {
  readonly sinceMs: number
  /** Whether a transaction was opened at all. */
  opened: boolean
  /** `begin` has settled, maybe before the work did. */
  over: boolean
  /** What the work rejected with, and what was found out about it while the connection was still ours. */
  failure?: { readonly error: unknown; readonly means: Means }
  /** What `begin` rejected with. Missing where the transaction is committed. */
  rejection?: { readonly error: unknown }
}

/** What a failure inside a transaction says. */
export type Means =
  /** The handler's own error, or one of ours that says everything itself. */
  | 'itself'
  /** The server cannot work for anybody. */
  | 'infrastructure'
  /** This connection is over, or does not answer. */
  | 'session-lost'
  /** A statement had failed, and the handler went on. */
  | 'aborted'
  /** The handler ended the transaction by itself. */
  | 'ended'

/** Opens a transaction for `work` and waits for both, the transaction and the work. Never rejects. */
export async function openTransaction<Tx>(
  begin: Begin<Tx>,
  work: (tx: Tx, session: Session) => Promise<void>,
  signal?: AbortSignal,
): Promise<Session> {
  const session: Session = { sinceMs: systemClock.now(), opened: false, over: false }
  let working: Promise<void> | undefined
  try {
    await begin((tx) => {
      session.opened = true
      working = work(tx, session)
      // postgres.js answers a rejection with a ROLLBACK, and that, on a connection that is closed, with an exception
      // that ends the process: once it has given up by itself, it is not to hear how the handler ended.
      return working.catch((error: unknown) => (session.over ? never : Promise.reject(error)))
    }, signal)
  } catch (error) {
    session.rejection = { error }
    session.over = true
    // A client may give up as soon as its connection breaks; attempts of one message never overlap.
    await working?.catch(() => undefined)
  }
  return session
}
const never = new Promise<never>(() => undefined)

/**
 * Whether a transaction is open, as the server sees it: only inside one can there be a savepoint. Rejects where it is
 * aborted.
 */
export async function isOpenIn(runner: StatementRunner): Promise<boolean> {
  try {
    await runner.query('savepoint holdfast', [])
    return true
  } catch (error) {
    if (sqlState(error) === '25P01') return false
    throw error
  }
}

/** Whether the connection still answers, also with an error. */
export async function answers(runner: StatementRunner): Promise<boolean> {
  try {
    await inTime(runner.query('select 1', []))
    return true
  } catch (error) {
    const fault = sqlFault(error)
    return fault !== undefined && fault !== 'session' && fault !== 'infrastructure'
  }
}

export interface DatabaseProbe<Tx> {
  readonly begin: Begin<Tx>
  readonly runnerOf: (tx: Tx) => StatementRunner
}

/**
 * Whether the database works for others, asked over another session: it answers, it takes writes, and it has been up for
 * longer than the session that was lost.
 */
export async function worksForOthers<Tx>(probe: DatabaseProbe<Tx>, sinceMs: number): Promise<boolean> {
  for (let attempt = 1; ; attempt++) {
    const answer = await askedOnce(probe, sinceMs)
    // A pool may lend the connections of a moment ago, which it does not know to be gone.
    if (answer !== 'gone' || attempt === mostProbes) return answer === 'works'
    await sleep(systemClock, attempt * betweenProbesMs)
  }
}

async function askedOnce<Tx>(
  { begin, runnerOf }: DatabaseProbe<Tx>,
  sinceMs: number,
): Promise<'works' | 'down' | 'gone'> {
  const found = { works: true }
  const tooLate = new AbortController()
  async function ask(tx: Tx): Promise<void> {
    const { rows } = await runnerOf(tx).query(PROBE, []).catch(afterTheEnd)
    const upMs = numberField(rows[0], 'up')
    found.works = textField(rows[0], 'writes') !== 'off' && !(upMs < systemClock.now() - sinceMs)
  }
  try {
    const { rejection } = await inTime(openTransaction(begin, ask, tooLate.signal))
    if (rejection === undefined) return found.works ? 'works' : 'down'
    const fault = sqlFault(rejection.error)
    if (fault === 'session' || looksDisconnected(rejection.error)) return 'gone'
    // Any other answer about the question itself is an answer of the database.
    return fault === undefined || fault === 'infrastructure' ? 'down' : 'works'
  } catch (error) {
    tooLate.abort(error)
    return 'down'
  }
}
const mostProbes = 4
const betweenProbesMs = 25

const PROBE = `select (extract(epoch from clock_timestamp() - pg_postmaster_start_time()) * 1000)::text as up,
case when current_setting('transaction_read_only') = 'on' then 'off' else 'on' end as writes`

/** Ends a connection that has become read-only, so that the pool makes one to the new writer instead of lending it. */
export async function endReadOnly<Tx>({ begin, runnerOf }: DatabaseProbe<Tx>): Promise<void> {
  const tooLate = new AbortController()
  const ending = openTransaction(begin, (tx) => runnerOf(tx).query(END, []).then(done, afterTheEnd), tooLate.signal)
  await inTime(ending).catch((error: unknown) => tooLate.abort(error))
}
const END = `select pg_terminate_backend(pg_backend_pid()) where current_setting('transaction_read_only') = 'on'`

const done = (): void => undefined

/** The end of a connection follows the error that announces it, and a client must not be asked to roll back on it. */
async function afterTheEnd(error: unknown): Promise<never> {
  await sleep(systemClock, closeMs)
  throw error
}
export const closeMs = 20

const longestWaitMs = 2000

/** A question that tells whether something answers must not wait for ever for it. */
async function inTime<T>(answer: Promise<T>): Promise<T> {
  const stop = new AbortController()
  try {
    return await Promise.race([
      answer,
      sleep(systemClock, longestWaitMs, stop.signal).then((): never => {
        throw new Error(`the database did not answer within ${longestWaitMs} ms`)
      }),
    ])
  } finally {
    stop.abort(new Error('answered'))
  }
}
