import { systemClock, type Clock } from '../core/clock.ts'
import { checkOptions, clockKind, having, number, text } from '../core/options.ts'
import { Rate, SharedRate } from './rate.ts'
import type { Limits } from './store.ts'

export interface RetryBudgetOptions {
  /** The dependency that it protects. @defaultValue `'retries'` */
  readonly name?: string
  /** Retries for each first attempt, in the long run. @defaultValue 0.1 */
  readonly ratio?: number
  /** Retries that are always there, however little is handled. @defaultValue 10 */
  readonly tokensPerSecond?: number
  /** How many retries may be saved up for a bad moment. @defaultValue 100 */
  readonly maxTokens?: number
  /** Shares the budget between processes: `redisLimits(redis)`. @defaultValue this process alone */
  readonly share?: Limits
  readonly clock?: Clock
}

/** A token bucket that retries draw on. Share one object between all pipelines that call one dependency. */
export interface RetryBudget {
  readonly name: string
  /** How many retries it would allow now. */
  readonly tokens: number
  /** A first attempt earns a share of a token. */
  earn(): void
  /**
   * Takes a token for the retry of that message. The answer is how many ms the retry has to wait: 0 where a token was
   * there. Else a token is taken ahead and kept for the message: asked again after that time, the answer is 0.
   */
  spend(messageId: string): number | Promise<number>
}

/**
 * Keeps retries from multiplying the load on a dependency that fails: at most `ratio` of the first attempts plus
 * `tokensPerSecond`. The idea is Finagle's retry budget; a token is taken ahead as in the generic cell rate algorithm
 * (GCRA), so that a thousand waiting messages come back once each and not all at the same time.
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
