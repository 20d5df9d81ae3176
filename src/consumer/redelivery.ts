import { attemptsBefore, isRetryLater, type Holds } from '../core/errors.ts'

/** What a nack asks of a transport that keeps the message itself. */
export interface Redelivery {
  readonly holds: Holds
  readonly afterMs: number
}

const longestMs = 30_000

/** How long a nacked message waits and what waits with it. `nacks` counts those before this one, in this process. */
export function redelivery(error: unknown, nacks: number, redeliverMs: number): Redelivery {
  if (!isRetryLater(error)) return { holds: 'message', afterMs: doubled(redeliverMs, nacks) }
  // "At once", said again and again, would be a busy loop.
  const leastMs = nacks === 0 ? 0 : Math.min(doubled(1, nacks), 1000)
  return { holds: error.holds, afterMs: Math.max(error.afterMs, leastMs) }
}

/** The attempt that a redelivery is: a wait is none, and what a stage counted is believed. */
export function attemptAfter(error: unknown, messageId: string, attempt: number): number {
  const counted = attemptsBefore(error, messageId)
  if (counted !== undefined) return counted + 1
  return isRetryLater(error) ? attempt : attempt + 1
}

function doubled(ms: number, times: number): number {
  return Math.min(ms * 2 ** Math.min(times, 30), Math.max(longestMs, ms))
}
