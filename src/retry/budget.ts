import { systemClock, type Clock } from '../core/clock.ts'
import { checkOptions, clockKind, having, number, text } from '../core/options.ts'
import { Rate, SharedRate } from './rate.ts'
import { requireSameTerms } from './same-terms.ts'
import type { Limits } from './store.ts'

export interface RetryBudgetOptions {
  /** The name of the protected dependency, for metrics and messages. @defaultValue `'retries'` */
  readonly name?: string
  /** Retries allowed per first attempt, on average. @defaultValue 0.1 */
  readonly ratio?: number
  /** Retries per second that are always allowed. @defaultValue 10 */
  readonly tokensPerSecond?: number
  /** Most unused retries to save up. @defaultValue 100 */
  readonly maxTokens?: number
  /** Shares the budget between processes: `redisLimits(redis)` or `postgresLimits(pool)`. @defaultValue this process alone */
  readonly share?: Limits
  readonly clock?: Clock
}

/** A token bucket for retries. Share one object between all pipelines that call the same dependency. */
export interface RetryBudget {
  readonly name: string
  /** The number of retries that it would allow now. */
  readonly tokens: number
  /** Adds the share of a token that a first attempt earns. */
  earn(): void
  /**
   * Takes a token for a retry of that message. Returns how many ms the retry must wait: 0 if a token was free. Otherwise it
   * reserves a future token for the message; a call after that time returns 0.
   */
  spend(messageId: string): number | Promise<number>
}

/**
 * Limits the load of retries on a failing dependency: at most `ratio` of the first attempts plus `tokensPerSecond`.
 * The idea is Finagle's retry budget. Tokens are reserved ahead as in the generic cell rate algorithm (GCRA): of a
 * thousand waiting messages, each comes back once, at its own time.
 */
export function retryBudget(options: RetryBudgetOptions = {}): RetryBudget {
  const {
    name = 'retries',
    ratio = 0.1,
    tokensPerSecond = 10,
    maxTokens = 100,
    share,
    clock = systemClock,
  } = checkOptions('retryBudget', options, {
    name: text,
    ratio: number(0),
    tokensPerSecond: number(Number.MIN_VALUE),
    maxTokens: number(1),
    share: having('take'),
    clock: clockKind,
  })
  if (share !== undefined) requireSameTerms('retryBudget', share, name, { tokensPerSecond, maxTokens })

  const terms = { name, perSecond: tokensPerSecond, burst: maxTokens, clock }
  const rate = share === undefined ? new Rate(terms) : new SharedRate({ ...terms, name: `budget:${name}` }, share)
  return {
    name,
    get tokens() {
      return rate.tokens
    },
    earn() {
      rate.earn(ratio)
    },
    spend: (messageId) => rate.take(messageId),
  }
}
