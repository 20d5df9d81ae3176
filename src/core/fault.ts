import { isHoldfastError, isPublishError, isRetryLater, type ErrorCode } from './errors.ts'

/**
 * Whose fault a failure is, and so what happens next.
 * `message`: this message failed, the others go on. The attempt counts; after the last one the message is dead-lettered.
 * `dependency`: a service that the handler calls failed. The attempt counts; a circuit breaker may count it too.
 * `infrastructure`: the pipeline's database, store or broker failed. The attempt does not count, and the pipeline waits.
 */
export type Fault = 'message' | 'dependency' | 'infrastructure'

/**
 * The one table for what is not a vendor's. A store adds what its own server says: `stores/postgres/failures.ts`.
 * `otherwise` is for errors that the table does not know: the message's where a handler threw them, infrastructure's
 * where a store or a publisher did.
 */
export function whoseFault(error: unknown, otherwise: Fault): Fault {
  if (isRetryLater(error)) return error.holds === 'pipeline' ? 'infrastructure' : 'message'
  if (isPublishError(error)) return error.failures.some(({ permanent }) => permanent) ? 'message' : 'infrastructure'
  if (isHoldfastError(error)) return ofCode[error.code] ?? otherwise
  if (hasNetworkCode(error) && otherwise === 'message') return 'dependency'
  return otherwise
}

const ofCode: Readonly<Partial<Record<ErrorCode, Fault>>> = {
  permanent: 'message',
  'failed-before': 'message',
  'key-conflict': 'message',
  'transaction-ended': 'message',
  'commit-refused': 'message',
  'session-lost': 'message',
  abandoned: 'message',
  'timed-out': 'dependency',
  'bad-option': 'infrastructure',
  'bad-schema': 'infrastructure',
  unavailable: 'infrastructure',
}

/** Whether Node or undici says that a connection could not be made or broke. It does not say to whom. */
export function hasNetworkCode(error: unknown): boolean {
  return firstInChain(error, (each) => isNetworkCode(Reflect.get(each, 'code')) || undefined) ?? false
}

/**
 * Whether an error says by itself that a server did not answer: a connection refused or lost, a time-out, or the HTTP
 * statuses 401, 403, 408, 429 and 5xx. Any other error concerns the message.
 */
export function saysOutage(error: unknown): boolean {
  return firstInChain(error, ofServer) ?? false
}

function ofServer(error: object): boolean | undefined {
  // What it wraps does not count: it has decided.
  if (isHoldfastError(error)) return error.code === 'unavailable' || error.code === 'timed-out'
  const { code, name, status, statusCode } = error as Readonly<Record<string, unknown>>
  if (isNetworkCode(code) || name === 'AbortError' || name === 'TimeoutError') return true
  return isOutageStatus(status) || isOutageStatus(statusCode) || undefined
}

function isNetworkCode(code: unknown): boolean {
  return typeof code === 'string' && networkCodes.test(code)
}
const networkCodes =
  /^(ECONN(REFUSED|RESET|ABORTED)|ETIMEDOUT|EPIPE|ENOTFOUND|EAI_AGAIN|E(HOST|NET)(UNREACH|DOWN)|UND_ERR_.*)$/

/** Not now: time-outs, rate limits, missing or expired credentials, and every fault of the server. */
function isOutageStatus(status: unknown): boolean {
  return typeof status === 'number' && ([401, 403, 408, 429].includes(status) || (status >= 500 && status < 600))
}

// Where clients keep the error that they wrap: everybody, TypeORM, Prisma, Prisma's driver adapters.
const wrapped = ['cause', 'driverError', 'meta', 'driverAdapterError'] as const

/** The first answer that is not `undefined`, from an error or from what it wraps. An unreadable error has none. */
export function firstInChain<Found>(error: unknown, find: (each: object) => Found | undefined): Found | undefined {
  // More than any client nests, and the end of a chain that leads back to itself.
  let leftToLookAt = 32
  function look(each: unknown): Found | undefined {
    if (typeof each !== 'object' || each === null || leftToLookAt-- <= 0) return undefined
    const found = find(each)
    if (found !== undefined) return found
    for (const name of wrapped) {
      const within = look(Reflect.get(each, name))
      if (within !== undefined) return within
    }
    return undefined
  }
  try {
    return look(error)
  } catch {
    // A getter or a proxy that throws.
    return undefined
  }
}
