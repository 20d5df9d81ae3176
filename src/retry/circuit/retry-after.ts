import type { Clock } from '../../core/clock.ts'
import { isObject } from '../../core/errors.ts'

// A longer wait is more often a server's mistake than its wish.
const longestMs = 300_000

/** How many ms the server asked to wait (`Retry-After`, seconds or a date), 0 where it did not. */
export function retryAfterMs(error: unknown, clock: Clock): number {
  try {
    const ms = asked(error, clock)
    return ms > 0 ? Math.min(ms, longestMs) : 0
  } catch {
    // A getter that throws is no wish.
    return 0
  }
}

function asked(error: unknown, clock: Clock): number {
  if (!isObject(error)) return 0
  const own: unknown = Reflect.get(error, 'retryAfterMs')
  if (typeof own === 'number') return own
  const response: unknown = Reflect.get(error, 'response')
  const text = header(error) ?? (isObject(response) ? header(response) : undefined)
  if (text === undefined) return 0
  return /^\s*\d+(\.\d+)?\s*$/.test(text) ? Number(text) * 1000 : Date.parse(text) - clock.wall()
}

function header(holder: object): string | undefined {
  const headers: unknown = Reflect.get(holder, 'headers')
  if (!isObject(headers)) return undefined
  const get: unknown = Reflect.get(headers, 'get')
  const value: unknown =
    typeof get === 'function' ? Reflect.apply(get, headers, ['retry-after']) : Reflect.get(headers, 'retry-after')
  return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined
}
