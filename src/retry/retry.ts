import { sleep, systemClock, type Clock } from '../core/clock.ts'
import { staged, type Delivery, type Middleware, type Outcome } from '../core/delivery.ts'
import {
  failureFrom,
  isAbandoned,
  isPermanent,
  isRetryLater,
  judge,
  PermanentError,
  RetryLater,
  type FailureReason,
} from '../core/errors.ts'
import { emitter } from '../core/events.ts'
import { callback, checkOptions, clockKind, count, either, having, ms, objects } from '../core/options.ts'
import { clamped, exponential, type Backoff, type BackoffOptions } from './backoff.ts'
import type { RetryBudget } from './budget.ts'
import { asksMs, tellFailed } from '../core/guarded.ts'
import { decisionBy, defaultRecovery, type Recovery } from './recovery.ts'

export interface RetryOptions {
  /** Most handler starts for one message, over all its deliveries, the first included. @defaultValue 5 */
  readonly maxAttempts?: number
  /** The waits between attempts. @defaultValue doubling from 100 ms to 30 s, with full jitter */
  readonly backoff?: Backoff | BackoffOptions
  /** Decides for each error whether to retry. @defaultValue permanent errors are final, all others are retried */
  readonly recovery?: Recovery
  /** Limits retries, as made by `retryBudget()`. Share it between all callers of one dependency. @defaultValue no limit */
  readonly budget?: RetryBudget
  /** Longest wait within a delivery, in ms. For a longer wait the message is nacked with that delay, and others go on. @defaultValue 5_000 */
  readonly sleepUpToMs?: number
  readonly clock?: Clock
  /** Random numbers between 0 and 1 for the jitter. @defaultValue `Math.random` */
  readonly random?: () => number
}

const attemptFailed = emitter('attempt-failed')
const retryRefused = emitter('retry-refused')
const discarded = emitter('discarded')

/**
 * Runs the handler again after errors that may pass, at most `maxAttempts` times over all deliveries of the message.
 * When attempts run out, it throws the handler's last error.
 */
export function retry(options: RetryOptions = {}): Middleware {
  const {
    maxAttempts = 5,
    backoff = {},
    recovery = defaultRecovery,
    budget,
    sleepUpToMs = 5_000,
    clock = systemClock,
    random = Math.random,
  } = checkOptions('retry', options, {
    maxAttempts: count(),
    backoff: either(callback, objects),
    recovery: callback,
    budget: having('earn', 'spend'),
    sleepUpToMs: ms(0),
    clock: clockKind,
    random: callback,
  })
  const usual = exponential(typeof backoff === 'function' ? {} : { random, ...backoff })

  /** The wait after the attempt of that number. */
  function waitMs(attempt: number, asked?: number): number {
    if (asked !== undefined && !Number.isNaN(asked)) return clamped(asked)
    const ask = typeof backoff === 'function' ? backoff : usual
    const orElse = (): number => (ask === usual ? unjittered(attempt) : usual(attempt))
    return clamped(asksMs('retry: backoff', () => ask(attempt), orElse))
  }

  /** What to do after an attempt failed: a wait before the next one, or an outcome. Throws where this delivery is over. */
  function decide(delivery: Delivery, error: unknown): { readonly afterMs: number } | 'discarded' {
    const { attempt, message } = delivery
    if (isAbandoned(error)) {
      failed(delivery, error, null)
      throw error
    }
    if (isRetryLater(error)) throw judged(delivery, error, error.counts ? attempt : attempt - 1)
    // Cut short from outside: that says nothing about the message.
    if (delivery.signal.aborted && !isPermanent(error))
      throw judged(delivery, stopped(0, 'stopped while it was handled', error), attempt - 1)

    const decision = decisionBy(recovery, error, attempt, message)
    if (decision.do === 'defer') {
      const later = new RetryLater(decision.afterMs, { ...decision, because: 'deferred', cause: error })
      throw judged(delivery, later, attempt - 1)
    }
    if (decision.do === 'discard') {
      failed(delivery, error, null)
      if (discarded.active()) discarded.publish({ delivery, error, reason: decision.reason })
      return 'discarded'
    }
    if (decision.do === 'dead-letter') throw final(delivery, error, decision.reason)
    if (attempt >= maxAttempts) throw final(delivery, error, 'attempts')

    const afterMs = waitMs(attempt, decision.afterMs)
    if (afterMs > sleepUpToMs) {
      failed(delivery, error, null)
      throw judged(delivery, new RetryLater(afterMs, { because: 'waits to be retried', cause: error }), attempt)
    }
    return { afterMs }
  }

  /** Takes a token for the next attempt of the delivery. Throws where there is none: the message has to wait for it. */
  async function spend(budget: RetryBudget, delivery: Delivery, error: unknown, afterMs: number, attempts: number) {
    const budgetMs = await tokenFrom(budget, delivery)
    if (!(budgetMs > 0)) return
    if (error !== undefined) failed(delivery, error, null)
    if (retryRefused.active()) retryRefused.publish({ delivery, error })
    const because = `the retry budget '${budget.name}' is used up`
    // The key waits in the consumer: an outage that uses the budget up must not park the whole topic, nor stop what works.
    throw judged(
      delivery,
      new RetryLater(Math.max(budgetMs, afterMs), { holds: 'lane', because, cause: error }),
      attempts,
    )
  }

  function final(delivery: Delivery, error: unknown, reason: FailureReason): unknown {
    failed(delivery, error, null)
    const { attempt: attempts, message } = delivery
    // A codec further in may have said already that the bytes are undecodable.
    const known = isPermanent(error) ? failureFrom(error, message.id, attempts).reason : reason
    judge(error, { messageId: message.id, attempts, reason: known })
    return error
  }

  /** Before the first attempt of this delivery, where earlier deliveries began some. */
  function refusal(delivery: Delivery): Error | undefined {
    const attempts = delivery.attempt - 1
    if (attempts >= maxAttempts) {
      const messageId = delivery.message.id
      const error = new PermanentError(
        `message ${messageId} was started ${attempts} times, of ${maxAttempts} allowed, and never ended`,
      )
      judge(error, { messageId, attempts, reason: 'crashed' })
      return error
    }
    return undefined
  }

  const middleware: Middleware = (next) => {
    type Inner = Parameters<typeof next>[0]

    async function again(first: Inner, thrown: unknown): Promise<Outcome> {
      let delivery = first
      let error = thrown
      for (;;) {
        const decision = decide(delivery, error)
        if (decision === 'discarded') return decision
        if (budget !== undefined) await spend(budget, delivery, error, decision.afterMs, delivery.attempt)
        failed(delivery, error, decision.afterMs)
        try {
          await sleep(clock, decision.afterMs, delivery.draining ?? delivery.signal)
        } catch {
          throw judged(delivery, stopped(decision.afterMs, 'stopped before its retry', error), delivery.attempt)
        }
        // The abort may have come between the timer and this line.
        if (delivery.signal.aborted || delivery.draining?.aborted === true)
          throw judged(delivery, stopped(0, 'stopped before its retry', error), delivery.attempt)
        delivery = { ...delivery, attempt: delivery.attempt + 1 }
        try {
          return await next(delivery)
        } catch (latest) {
          error = latest
        }
      }
    }

    function start(delivery: Inner): Promise<Outcome> {
      return next(delivery).then(undefined, (error: unknown) => again(delivery, error))
    }

    return function retry(delivery) {
      if (delivery.attempt <= 1) {
        if (budget !== undefined) earn(budget)
        return start(delivery)
      }
      const error = refusal(delivery)
      if (error !== undefined) return Promise.reject(error)
      // A retry needs a token in every delivery.
      return budget === undefined ? start(delivery) : spendFirst(budget, delivery)
    }

    async function spendFirst(budget: RetryBudget, delivery: Inner): Promise<Outcome> {
      await spend(budget, delivery, undefined, 0, delivery.attempt - 1)
      if (delivery.signal.aborted)
        throw judged(delivery, stopped(0, 'stopped before its retry', undefined), delivery.attempt - 1)
      return start(delivery)
    }
  }

  // A table's rows and a function may wait for any time, but not in this delivery.
  const bounded = recovery === defaultRecovery && typeof backoff === 'object' ? backoff.maxMs : undefined
  return staged(middleware, {
    name: 'retry',
    facts: { maxAttempts, maxDelayMs: Math.min(sleepUpToMs, bounded ?? sleepUpToMs) },
    wantsOutside: {
      'dead-letter': 'the first failure would already be final',
      idempotency: 'the claim must outlive every attempt',
    },
    excludes: { retry: 'their attempts would multiply' },
  })
}

function judged(delivery: Delivery, error: RetryLater, attempts: number): RetryLater {
  judge(error, { messageId: delivery.message.id, attempts, reason: null })
  return error
}

function stopped(afterMs: number, because: string, cause: unknown): RetryLater {
  return new RetryLater(afterMs, { because, cause })
}

function earn(budget: RetryBudget): void {
  try {
    budget.earn()
  } catch (error) {
    tellFailed('retry: budget', error)
  }
}

/** How long the retry has to wait. A budget that cannot say is no reason to lose the handler's error. */
async function tokenFrom(budget: RetryBudget, delivery: Delivery): Promise<number> {
  try {
    return await budget.spend(nameOf(delivery))
  } catch (error) {
    tellFailed('retry: budget', error)
    return 0
  }
}

/** Ids are unique within their destination and pipeline; a budget may be shared by several. */
function nameOf({ pipeline, origin, message }: Delivery): string {
  return `${pipeline} ${origin.destination} ${message.id}`
}

const unjittered = exponential({ jitter: 'none' })

function failed(delivery: Delivery, error: unknown, nextInMs: number | null): void {
  if (attemptFailed.active()) attemptFailed.publish({ delivery, error, attempt: delivery.attempt, nextInMs })
}
