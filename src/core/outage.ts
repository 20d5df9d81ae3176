import { isHoldfastError } from './errors.ts'

const connectionCodes =
  /^(ECONN(REFUSED|RESET|ABORTED)|ETIMEDOUT|EPIPE|ENOTFOUND|EAI_AGAIN|E(HOST|NET)(UNREACH|DOWN)|UND_ERR_.*)$/
const names = new Set(['AbortError', 'TimeoutError'])
/** Not now: time-outs, rate limits, missing or expired credentials, and every fault of the server. */
const isOutageStatus = (status: unknown): boolean =>
  typeof status === 'number' && ([401, 403, 408, 429].includes(status) || (status >= 500 && status < 600))

/**
 * Whether an error says by itself that somebody who was asked could not answer: a refused or lost connection, a time-out,
 * an HTTP status of the server's making. What says nothing of the kind is about the message.
 */
export function saysOutage(error: unknown, depth = 0): boolean {
  if (typeof error !== 'object' || error === null || depth > 5) return false
  try {
    if (isHoldfastError(error)) return error.code === 'unavailable' || error.code === 'timed-out'
    const { code, name, status, statusCode, cause } = error as Readonly<Record<string, unknown>>
    if (typeof code === 'string' && connectionCodes.test(code)) return true
    if (typeof name === 'string' && names.has(name)) return true
    return isOutageStatus(status) || isOutageStatus(statusCode) || saysOutage(cause, depth + 1)
  } catch {
    // A getter that throws says nothing.
    return false
  }
}
