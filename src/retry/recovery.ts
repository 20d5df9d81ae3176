import { isPermanent, textOf, type FailureReason } from '../core/errors.ts'
import type { Message } from '../core/message.ts'
import { badOption, checkArgument, count, text } from '../core/options.ts'
import { exponential, type Backoff, type BackoffOptions } from './backoff.ts'
import { asks, guarded } from '../core/guarded.ts'

/** What to do after an error. */
export type Decision =
  /** Retry while attempts are left, after `afterMs` or else after the backoff of `retry()`. */
  | { readonly do: 'retry'; readonly afterMs?: number }
  /** Nack the message with a delay. The attempt does not count. `parks`: the message is parked, however short the delay is. */
  | { readonly do: 'defer'; readonly afterMs: number; readonly parks?: boolean }
  /** The error is final. */
  | { readonly do: 'dead-letter'; readonly reason: FailureReason }
  /** Ack the message without handling it. */
  | { readonly do: 'discard'; readonly reason: string }

/** Decides what to do after an error. `attempt` is the number of the failed attempt; the first is 1. It must have no effects. */
export type Recovery = (error: unknown, attempt: number, message: Message) => Decision

/** Permanent errors are final. Every other error is retried, time-outs too. */
export const defaultRecovery: Recovery = (error) =>
  isPermanent(error) ? { do: 'dead-letter', reason: 'permanent' } : { do: 'retry' }

/** One row of a {@link recovery} table. */
export interface RecoveryRule {
  matches(error: unknown): boolean
  readonly decide: Recovery
}

/** Selects the errors of a row: an error class, a type guard or a predicate. */
export type ErrorTest<E> =
  (abstract new (...args: never[]) => E) | ((error: unknown) => error is E) | ((error: unknown) => boolean)

export interface When<E> {
  /** Retries. The row may have its own backoff and its own number of attempts. */
  retry(options?: RetryRuleOptions): RecoveryRule
  /** Nacks the message for `afterMs`. The attempt does not count, and the message is not dead-lettered. */
  after(afterMs: number | ((error: E, message: Message) => number)): RecoveryRule
  /**
   * In a pipeline with `parking()`: parks the message for `afterMs`, however short that is, and its key waits outside the
   * consumer. Elsewhere the same as `after()`.
   */
  park(afterMs: number | ((error: E, message: Message) => number)): RecoveryRule
  /** Dead-letters the message at once. */
  deadLetter(reason?: FailureReason): RecoveryRule
  /** Acks the message without handling it. The event carries the reason. */
  discard(reason: string): RecoveryRule
}

export interface RetryRuleOptions {
  /** @defaultValue that of `retry()` */
  readonly backoff?: Backoff | BackoffOptions
  /** Most attempts for these errors. A number above that of `retry()` has no effect. @defaultValue that of `retry()` */
  readonly maxAttempts?: number
}

/**
 * Turns a table of rules into one function. The first row that matches decides. If none matches, `defaultRecovery` decides.
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
 * Begins a row for the errors of a class, or for those that a type guard or a predicate accepts. A class need not extend
 * `Error`. A function counts as a class, and is used with `instanceof` rather than called, if it is declared with `class`,
 * has its own prototype or `Symbol.hasInstance`, or has a name that starts with a capital letter.
 */
export function when<E>(test: ErrorTest<E>): When<E> {
  if (typeof test !== 'function') throw badOption('when', 'test', 'an error class or a function', test)
  return rowFor(isClass(test) ? instancesOf(test) : test)
}

/** Begins the row for every error that no earlier row matched. */
export const otherwise: When<unknown> = rowFor(() => true)

function rowFor<E>(test: ((error: unknown) => error is E) | ((error: unknown) => boolean)): When<E> {
  const matches = (error: unknown): error is E => asks('when: test', () => test(error), false)
  const row = (decide: (error: E, attempt: number, message: Message) => Decision): RecoveryRule => ({
    matches,
    decide: (error, attempt, message) =>
      matches(error) ? decide(error, attempt, message) : defaultRecovery(error, attempt, message),
  })

  function waits(
    name: string,
    afterMs: number | ((error: E, message: Message) => number),
    parks: boolean,
  ): RecoveryRule {
    if (typeof afterMs === 'function')
      return row((error, _, message) =>
        defer(
          guarded(`${name}: afterMs`, () => afterMs(error, message), Number.isFinite, untold, 'a number of ms'),
          parks,
        ),
      )
    if (!Number.isFinite(afterMs) || afterMs < 0)
      throw badOption(name, 'afterMs', 'a number of ms of at least 0, or a function', afterMs)
    return row(() => defer(afterMs, parks))
  }

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
    after: (afterMs) => waits('when().after', afterMs, false),
    park: (afterMs) => waits('when().park', afterMs, true),
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

function defer(afterMs: number, parks: boolean): Decision {
  return { do: 'defer', afterMs: Math.max(0, afterMs), ...(parks && { parks }) }
}

function isTime(ms: number | undefined): boolean {
  return typeof ms === 'number' && !Number.isNaN(ms)
}

/**
 * `instanceof`, but for classes that claim errors which they did not make, as zod's `ZodRealError` claims every `Error`:
 * there the error must bear the name of the class too.
 */
function instancesOf<E>(test: abstract new (...args: never[]) => E): (error: unknown) => error is E {
  const plain = new Error()
  const claimsAll = Object.hasOwn(test, Symbol.hasInstance) && asks('when: test', () => plain instanceof test, false)
  if (!claimsAll) return (error): error is E => error instanceof test
  return (error): error is E => error instanceof test && textOf(error).errorName === test.name
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
