import { firstInChain, hasNetworkCode } from '../../core/fault.ts'
import { HoldfastError } from '../../core/errors.ts'

/**
 * What PostgreSQL says of a failure.
 * `infrastructure`: the server cannot work for anybody now. No attempt; the pipeline waits.
 * `session`: this session is over. Whether that is the message's fault is told by asking the database over another one.
 * `refused`: the database can never store these values.
 * `contention`: another transaction was in the way; the same may succeed when it is sent again.
 * `setup`: the tables or the rights of a store are not what they should be.
 * `message`: everything else. The attempt counts.
 */
export type SqlFault = 'infrastructure' | 'session' | 'refused' | 'contention' | 'setup' | 'message'

/** The one table of SQLSTATEs: a whole code, or a class of two characters. A whole code comes before its class. */
export const sqlFaults: Readonly<Record<string, SqlFault>> = {
  '08': 'session', // connection exceptions; pgbouncer sends 08P01 for errors of its own
  '25P03': 'session', // idle_in_transaction_session_timeout
  '25P04': 'session', // transaction_timeout
  '57P01': 'session', // pg_terminate_backend, or a shutdown
  '57P05': 'session', // idle_session_timeout
  '25006': 'infrastructure', // read-only: the server was demoted
  '53': 'infrastructure', // no disk, no memory, too many connections, a configured limit
  '57P02': 'infrastructure', // crash of another server process
  '57P03': 'infrastructure', // starting up, shutting down, recovering
  '57P04': 'infrastructure', // the database was dropped
  '58': 'infrastructure', // I/O errors, missing files
  '22021': 'refused', // bytes that the encoding does not know
  '22P05': 'refused', // characters that the database's encoding lacks
  '54000': 'refused', // an index row that is too large
  '40001': 'contention', // serialization failure
  '40P01': 'contention', // deadlock
  '55P03': 'contention', // lock_timeout
  '42P01': 'setup',
  '3F000': 'setup',
  '42703': 'setup',
  '42501': 'setup',
}

/** What the table says of an error, or of what it wraps; `undefined` where the server said nothing. */
export function sqlFault(error: unknown): SqlFault | undefined {
  const state = sqlState(error)
  if (state === undefined) return firstInChain(error, ofPrisma)
  return sqlFaults[state] ?? sqlFaults[state.slice(0, 2)] ?? 'message'
}

/** The SQLSTATE of an error of any supported client or query builder. */
export function sqlState(error: unknown): string | undefined {
  return firstInChain(error, (each) => {
    for (const name of ['code', 'originalCode']) {
      const code: unknown = Reflect.get(each, name)
      if (typeof code === 'string' && isSqlState(code)) return code
    }
    return undefined
  })
}

/** Five characters are also what Prisma's codes have (P1017), and some of the system's (EPIPE, EPERM). */
function isSqlState(code: string): boolean {
  return /^[0-9A-Z]{5}$/.test(code) && !/^P[1-9]|^E[A-Z]/.test(code)
}

/** Prisma's own codes, where it does not pass on what the server said. */
function ofPrisma(error: object): SqlFault | undefined {
  const code: unknown = Reflect.get(error, 'code')
  return typeof code === 'string' ? prismaFaults[code] : undefined
}
const prismaFaults: Readonly<Record<string, SqlFault>> = {
  P1001: 'session', // cannot be reached
  P1002: 'session', // reached, but no answer in time
  P1008: 'session', // no answer in time
  P1017: 'session', // the connection was closed
  P2024: 'infrastructure', // no connection of the pool in time
  P2034: 'contention', // write conflict or deadlock
}

/**
 * Whether it looks as if a connection broke or gave no answer. Not a proof that it was the database's: a handler may
 * talk to others too.
 */
export function looksDisconnected(error: unknown): boolean {
  return hasNetworkCode(error) || (firstInChain(error, ofClient) ?? false)
}

function ofClient(error: object): true | undefined {
  if (postgresjsCodes.has(String(Reflect.get(error, 'code')))) return true
  const message: unknown = Reflect.get(error, 'message')
  return typeof message === 'string' && disconnectedText.test(message) ? true : undefined
}
const postgresjsCodes: ReadonlySet<string> = new Set([
  ...['CONNECTION_CLOSED', 'CONNECTION_ENDED', 'CONNECTION_DESTROYED', 'CONNECT_TIMEOUT'],
])
// node-postgres gives these no code.
const disconnectedText =
  /^(Connection terminated|Client has encountered a connection error|Client was closed|Query read timeout|timeout exceeded when trying to connect)/

/** Whether pg gave up waiting for an answer: its connection is still busy with the query. */
export function isReadTimeout(error: unknown): boolean {
  return (
    firstInChain(error, (each) => String(Reflect.get(each, 'message')).startsWith('Query read timeout') || undefined) ??
    false
  )
}

/** Whether the transaction can simply be sent again: it lost against another one. */
export function isContention(error: unknown): boolean {
  const state = sqlState(error)
  return state === '40001' || state === '40P01'
}

export function isLockTimeout(error: unknown): boolean {
  return sqlState(error) === '55P03'
}

/** Whether one row of a statement may have brought all of it down. */
export function mayBeOneRow(error: unknown): boolean {
  const state = sqlState(error)
  return state !== undefined && (state === '55P03' || /^(22|23|54)/.test(state))
}

/** What the database said, put plainly where it is about the schema. */
export function explained(where: string, schema: string, error: unknown): unknown {
  if (sqlFault(error) !== 'setup') return error
  const what =
    sqlState(error) === '42501'
      ? `this role lacks rights on the tables in schema ${schema}`
      : `the tables in schema ${schema} are missing or older than this version: run migrate(pool) first`
  return new HoldfastError('bad-schema', `${where}: ${what}`, { cause: error })
}
