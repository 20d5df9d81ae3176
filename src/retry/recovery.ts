import { isPermanent, type FailureReason } from '../core/errors.ts'
import type { Message } from '../core/message.ts'
import { badOption, checkArgument, count, text } from '../core/options.ts'
import { exponential, type Backoff, type BackoffOptions } from './backoff.ts'
import { asks, guarded } from '../core/guarded.ts'

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
    for (const rule of rules)
      if (asks('recovery: matches', () => rule.matches(error), false)) return rule.decide(error, attempt, message)
    return defaultRecovery(error, attempt, message)
  }
}

/**
 * Begins a row for the errors of a class, or for those that a guard or a predicate says yes to. A class need not extend
 * `Error`: what is told by `class`, by a prototype or `Symbol.hasInstance` of its own or by a name that begins with a
 * capital letter is asked with `instanceof` and never called.
 */
export function when<E>(test: ErrorTest<E>): When<E> {
  if (typeof test !== 'function') throw badOption('when', 'test', 'an error class or a function', test)
  return rowFor(isClass(test) ? (error): error is E => error instanceof test : test)
}

/** The row for everything that no row before it matched. */
export const otherwise: When<unknown> = rowFor(() => true)

function rowFor<E>(test: ((error: unknown) => error is E) | ((error: unknown) => boolean)): When<E> {
  const matches = (error: unknown): error is E => asks('when: test', () => test(error), false)
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
        if (waitMs === undefined) return { do: 'retry' }
        const afterMs = guarded<number | undefined>(
          'when().retry: backoff',
          () => waitMs(attempt),
          isTime,
          () => undefined,
          'a number of ms',
        )
        return afterMs === undefined ? { do: 'retry' } : { do: 'retry', afterMs }
      })
    },
    after(afterMs) {
      if (typeof afterMs === 'function')
        return row((error, _, message) =>
          defer(
            guarded('when().after: afterMs', () => afterMs(error, message), Number.isFinite, untold, 'a number of ms'),
          ),
        )
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

const decisions: readonly unknown[] = ['retry', 'defer', 'dead-letter', 'discard']

/** Asks the function; where it throws, or answers no decision, that is told and the default decides. */
export function decisionBy(recovery: Recovery, error: unknown, attempt: number, message: Message): Decision {
  return (
    guarded<Decision | undefined>(
      'retry: recovery',
      () => recovery(error, attempt, message),
      (decision) => decisions.includes(decision?.do) && !(decision?.do === 'defer' && !isTime(decision.afterMs)),
      () => undefined,
      "a decision such as { do: 'retry' }",
    ) ?? defaultRecovery(error, attempt, message)
  )
}

function backoffFrom(backoff: Backoff | BackoffOptions): Backoff {
  return typeof backoff === 'function' ? backoff : exponential(backoff)
}

// An error that names no usable time must not come back at once, again and again.
const untoldMs = 1000

const untold = (): number => untoldMs

function defer(afterMs: number): Decision {
  return { do: 'defer', afterMs: Math.max(0, afterMs) }
}

function isTime(ms: number | undefined): boolean {
  return typeof ms === 'number' && !Number.isNaN(ms)
}

/** Whether the test is a class rather than a predicate: a class that is called as a function throws, or says yes to all. */
function isClass<E>(test: ErrorTest<E>): test is abstract new (...args: never[]) => E {
  const prototype: unknown = Reflect.get(test, 'prototype')
  // Arrow functions, methods and async functions have none.
  if (typeof prototype !== 'object' || prototype === null) return false
  return (
    Object.hasOwn(test, Symbol.hasInstance) ||
    Object.getPrototypeOf(prototype) !== Object.prototype ||
    Reflect.ownKeys(prototype).length > 1 ||
    /^class\b/.test(Function.prototype.toString.call(test)) ||
    /^\p{Lu}/u.test(test.name)
  )
}
