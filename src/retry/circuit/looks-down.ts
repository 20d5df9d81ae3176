import { isHoldfastError, isObject } from '../../core/errors.ts'

/** Codes of Node, of its DNS and TLS, and of undici. */
const downCodes: ReadonlySet<string> = new Set([
  ...['ECONNREFUSED', 'ECONNRESET', 'ECONNABORTED', 'EPIPE', 'ETIMEDOUT', 'ESOCKETTIMEDOUT'],
  ...['EHOSTUNREACH', 'EHOSTDOWN', 'ENETUNREACH', 'ENETDOWN', 'ENOTFOUND', 'EAI_AGAIN', 'EAI_FAIL', 'EPROTO'],
  ...['UND_ERR_CONNECT_TIMEOUT', 'UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT', 'UND_ERR_SOCKET'],
  ...['DEPTH_ZERO_SELF_SIGNED_CERT', 'SELF_SIGNED_CERT_IN_CHAIN', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
])
const downPrefixes: readonly string[] = ['ERR_TLS_', 'ERR_SSL_', 'CERT_']
const downStatuses: ReadonlySet<unknown> = new Set([500, 502, 503, 504])
/** DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE. */
const downGrpc: ReadonlySet<unknown> = new Set([4, 8, 14])
/** Connection exceptions, insufficient resources, operator intervention, errors outside of PostgreSQL itself. */
const downSqlState = /^(08|53|57P|58)/

const deepestCause = 5

/**
 * Whether an error suggests that the dependency is down: a time-out, a failed connection, DNS or TLS, the HTTP statuses
 * 500, 502, 503 and 504, SQLSTATEs of the classes 08, 53, 57P and 58, or the gRPC codes 4, 8 and 14. Any other error (a
 * `TypeError`, 4xx, a broken constraint) is an answer. It also reads `cause`, since `fetch` puts the code there.
 */
export function dependencyErrors(error: unknown): boolean {
  let each = error
  for (let depth = 0; depth < deepestCause && isObject(each); depth++) {
    const said = saysDown(each)
    if (said !== undefined) return said
    each = first(Reflect.get(each, 'errors')) ?? Reflect.get(each, 'cause')
  }
  return false
}

/** The HTTP status of an error of axios, got, ky, undici and many SDKs. */
export function statusOf(error: unknown): unknown {
  if (!isObject(error)) return undefined
  const response: unknown = Reflect.get(error, 'response')
  const at = (holder: object): unknown => Reflect.get(holder, 'status') ?? Reflect.get(holder, 'statusCode')
  return at(error) ?? (isObject(response) ? at(response) : undefined)
}

/** `undefined` where the error itself says nothing, so that its cause is looked at. */
function saysDown(error: object): boolean | undefined {
  if (isHoldfastError(error)) return error.code === 'timed-out' || error.code === 'unavailable' ? true : undefined
  if (Reflect.get(error, 'name') === 'TimeoutError') return true
  const status = statusOf(error)
  if (typeof status === 'number' && status >= 100 && status < 600) return downStatuses.has(status)
  const code: unknown = Reflect.get(error, 'code')
  if (typeof code === 'number') return isGrpc(error) ? downGrpc.has(code) : undefined
  if (typeof code !== 'string') return undefined
  if (downCodes.has(code) || downPrefixes.some((prefix) => code.startsWith(prefix))) return true
  return isSqlState(code) ? downSqlState.test(code) : undefined
}

function isGrpc(error: object): boolean {
  return 'details' in error && 'metadata' in error
}

/** Two characters of class and three of condition; no name of Node's is so short, and Prisma's begin with P. */
function isSqlState(code: string): boolean {
  return /^[0-9A-HJ-OQ-Z][0-9A-Z]{4}$/.test(code) && code !== 'EPIPE'
}

function first(errors: unknown): unknown {
  return Array.isArray(errors) ? (errors as readonly unknown[])[0] : undefined
}
