import { HoldfastError } from '../../core/errors.ts'
import { field } from './rows.ts'

/** The first SQLSTATE in an error or what caused it: some clients wrap what the server said. */
export function sqlState(error: unknown): string | undefined {
  return firstInChain(error, (each) => {
    const code = field(each, 'code')
    // A socket's codes are longer than five characters, and so are those of the clients, but for EPIPE.
    return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && code !== 'EPIPE' ? code : undefined
  })
}

/** Whether the server itself says that it cannot be worked with now: going away, starting, or out of connections. */
export function saysServerIsDown(error: unknown): boolean {
  const state = sqlState(error)
  return state !== undefined && (state.startsWith('08') || serverDown.has(state))
}
const serverDown: ReadonlySet<string> = new Set(['57P01', '57P02', '57P03', '53300'])

/**
 * Whether it looks as if a connection broke. Not a proof that it was the database's: a handler may talk to others too.
 */
export function looksDisconnected(error: unknown): boolean {
  return (
    firstInChain(error, (each) => {
      const code = field(each, 'code')
      if (typeof code === 'string' && disconnected.has(code)) return true
      const message = field(each, 'message')
      return typeof message === 'string' && disconnectedText.test(message) ? true : undefined
    }) ?? false
  )
}
const disconnected: ReadonlySet<string> = new Set([
  ...['ECONNRESET', 'ECONNREFUSED', 'ECONNABORTED', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND', 'EAI_AGAIN'],
  ...['EHOSTUNREACH', 'ENETUNREACH', 'ENETDOWN'],
  // postgres.js
  ...['CONNECTION_CLOSED', 'CONNECTION_ENDED', 'CONNECTION_DESTROYED', 'CONNECT_TIMEOUT'],
])
// node-postgres gives these no code.
const disconnectedText =
  /^(Connection terminated|Client has encountered a connection error|Client was closed|Query read timeout|timeout exceeded when trying to connect)/

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
  const state = sqlState(error)
  if (state === '42P01' || state === '3F000' || state === '42703')
    return new HoldfastError(
      'bad-schema',
      `${where}: the tables in schema ${schema} are missing or older than this version: run migrate(pool) first`,
      { cause: error },
    )
  if (state === '42501')
    return new HoldfastError('bad-schema', `${where}: this role lacks rights on the tables in schema ${schema}`, {
      cause: error,
    })
  return error
}

function firstInChain<Found>(error: unknown, find: (error: unknown) => Found | undefined): Found | undefined {
  // Ten is deeper than any client goes, and ends a chain that leads back to itself.
  for (let each = error, depth = 0; each !== undefined && each !== null && depth < 10; depth++) {
    const found = find(each)
    if (found !== undefined) return found
    each = field(each, 'cause')
  }
  return undefined
}
