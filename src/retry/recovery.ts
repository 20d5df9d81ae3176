import { isPermanent, type FailureReason } from '../core/errors.ts'
import type { Message } from '../core/message.ts'
import { badOption, checkArgument, count, text } from '../core/options.ts'
import { exponential, type Backoff, type BackoffOptions } from './backoff.ts'

/** What to do about an error. */
export type Decision =
  /** Try again, as long as attempts are left. Without `afterMs` after the wait that `retry()` was given. */
  | { readonly do: 'retry'; readonly afterMs?: number }
  /** Hand the message back until later; that was no attempt. */
  | { readonly do: 'defer'; readonly afterMs: number }
  /** The error is final. */
  | { readonly do: 'dead-letter'; readonly reason: FailureReason }
  /** Ack it and forget it. */
  | { readonly do: 'discard'; readonly reason: string }

/** Decides by the error, the number of the attempt that threw it (1 is the first) and the message. Has no effects. */
export type Recovery = (error: unknown, attempt: number, message: Message) => Decision

/** What is permanent is final; everything else, a time-out too, may succeed the next time. */
export const defaultRecovery: Recovery = (error) =>
  isPermanent(error) ? { do: 'dead-letter', reason: 'permanent' } : { do: 'retry' }

/** One row of a {@link recovery} table. */
export interface RecoveryRule {
  matches(error: unknown): boolean
  readonly decide: Recovery
}

/** What a row tells errors by: an error class, a type guard, or any predicate. */
export type ErrorTest<E> =
  (abstract new (...args: never[]) => E) | ((error: unknown) => error is E) | ((error: unknown) => boolean)

export interface When<E> {
  /** Tries again, after a backoff of its own where one is given, and up to an own number of attempts. */
  retry(options?: RetryRuleOptions): RecoveryRule
  /** Hands the message back until later: never an attempt, never a dead letter. */
  after(afterMs: number | ((error: E, message: Message) => number)): RecoveryRule
  /** Gives it up at once. */
  deadLetter(reason?: FailureReason): RecoveryRule
  /** Acks it without having handled it; the reason stands in the event. */
  discard(reason: string): RecoveryRule
}

export interface RetryRuleOptions {
  /** @defaultValue that of `retry()` */
  readonly backoff?: Backoff | BackoffOptions
  /** A lower number than that of `retry()`; a higher one has no effect. @defaultValue that of `retry()` */
  readonly maxAttempts?: number
}

/**
 * A table of rules as one function: the first row that matches decides; what no row matches goes by the default.
 * `recovery(when(ValidationError).deadLetter(), when(RateLimited).after((e) => e.retryAfterMs), otherwise.retry())`
 */
export function recovery(...rules: readonly RecoveryRule[]): Recovery {
  for (const rule of rules)
    if (typeof (rule as Partial<RecoveryRule> | undefined)?.decide !== 'function')
      throw badOption('recovery', 'rule', 'a row such as when(…).retry()', rule)
  return (error, attempt, message) => {
    for (const rule of rules) if (rule.matches(error)) return rule.decide(error, attempt, message)
    return defaultRecovery(error, attempt, message)
  }
}

/** Begins a row for the errors of a class, or for those that a guard or a predicate says yes to. */
export function when<E>(test: ErrorTest<E>): When<E> {
  if (typeof test !== 'function') throw badOption('when', 'test', 'an error class or a function', test)
  return rowFor(isErrorClass(test) ? (error): error is E => error instanceof test : test)
}

/** The row for everything that no row before it matched. */
export const otherwise: When<unknown> = rowFor(() => true)

function rowFor<E>(test: ((error: unknown) => error is E) | ((error: unknown) => boolean)): When<E> {
  const matches = (error: unknown): error is E => test(error)
  const row = (decide: (error: E, attempt: number, message: Message) => Decision): RecoveryRule => ({
    matches,
    decide: (error, attempt, message) =>
      matches(error) ? decide(error, attempt, message) : defaultRecovery(error, attempt, message),
  })
  return {
    retry({ backoff, maxAttempts = Infinity } = {}) {
      if (maxAttempts !== Infinity) checkArgument('when().retry', 'maxAttempts', maxAttempts, count())
      const waitMs = backoff === undefined ? undefined : backoffFrom(backoff)
      return row((_, attempt) => {
        if (attempt >= maxAttempts) return { do: 'dead-letter', reason: 'attempts' }
        return waitMs === undefined ? { do: 'retry' } : { do: 'retry', afterMs: waitMs(attempt) }
      })
    },
    after(afterMs) {
      if (typeof afterMs === 'function') return row((error, _, message) => defer(afterMs(error, message)))
      if (!Number.isFinite(afterMs) || afterMs < 0)
        throw badOption('when().after', 'afterMs', 'a number of ms of at least 0, or a function', afterMs)
      return row(() => defer(afterMs))
    },
    deadLetter: (reason = 'permanent') => row(() => ({ do: 'dead-letter', reason })),
    discard(reason) {
      checkArgument('when().discard', 'reason', reason, text)
      return row(() => ({ do: 'discard', reason }))
    },
  }
}

export function backoffFrom(backoff: Backoff | BackoffOptions): Backoff {
  return typeof backoff === 'function' ? backoff : exponential(backoff)
}

// An error that names no usable time must not come back at once, again and again.
const untoldMs = 1000

function defer(afterMs: number): Decision {
  return { do: 'defer', afterMs: Number.isFinite(afterMs) ? Math.max(0, afterMs) : untoldMs }
}

function isErrorClass<E>(test: ErrorTest<E>): test is abstract new (...args: never[]) => E {
  return (test as unknown) === Error || (test as { readonly prototype?: unknown }).prototype instanceof Error
}
