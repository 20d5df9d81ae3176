import { noJitterGenerator } from 'cockatiel'
import { badOption, callback, checkOptions, ms, oneOf } from '../core/options.ts'

/** Returns the wait in ms after a failed attempt. The first attempt is 1. */
export type Backoff = (attempt: number) => number

export interface BackoffOptions {
  /** The wait in ms after the first attempt, before jitter. It doubles with every attempt. At most `maxMs`. @defaultValue 100, or `maxMs` if that is less */
  readonly initialMs?: number
  /** Longest wait in ms. @defaultValue 30_000 */
  readonly maxMs?: number
  /** `'full'` draws each wait at random between 0 and its length. Messages that failed together then retry at different times. @defaultValue `'full'` */
  readonly jitter?: 'full' | 'none'
  /** Returns random numbers between 0 and 1. @defaultValue `Math.random` */
  readonly random?: () => number
}

/** A longer delay makes Node's timers fire at once. */
export const longestDelayMs: number = 2 ** 31 - 1

/** A backoff that doubles from `initialMs` up to `maxMs`, with full jitter. */
export function exponential(options: BackoffOptions = {}): Backoff {
  const {
    maxMs = 30_000,
    initialMs = Math.min(100, maxMs),
    jitter = 'full',
    random = Math.random,
  } = checkOptions('exponential', options, {
    initialMs: ms(0),
    maxMs: ms(0),
    jitter: oneOf('full', 'none'),
    random: callback,
  })
  if (initialMs > maxMs) throw badOption('exponential', 'initialMs', `at most maxMs (${maxMs})`, initialMs)
  const maths = { generator: noJitterGenerator, maxDelay: maxMs, exponent: 2, initialDelay: initialMs }
  return (attempt) => {
    const [ceilingMs] = noJitterGenerator(attempt - 1, maths)
    return clamped(jitter === 'none' ? ceilingMs : random() * ceilingMs)
  }
}

/** A delay that a timer can keep: not negative, not a NaN, not above 2³¹ − 1. */
export function clamped(ms: number): number {
  return ms > 0 ? Math.min(ms, longestDelayMs) : 0
}
