import { systemClock, type Clock } from '../core/clock.ts'
import { checkOptions, clockKind, number, text } from '../core/options.ts'

export interface RetryBudgetOptions {
  /** The dependency that it protects. @defaultValue `'retries'` */
  readonly name?: string
  /** Retries for each first attempt, in the long run. @defaultValue 0.1 */
  readonly ratio?: number
  /** Retries that are always there, however little is handled. @defaultValue 10 */
  readonly tokensPerSecond?: number
  /** How many retries may be saved up for a bad moment. @defaultValue 100 */
  readonly maxTokens?: number
  readonly clock?: Clock
}

/** A token bucket that retries draw on. Share one object between all pipelines that call one dependency. */
export interface RetryBudget {
  readonly name: string
  /** How many retries it would allow now. */
  readonly tokens: number
  /** A first attempt earns a share of a token. */
  earn(): void
  /** Takes a token; `false` where there is none. */
  spend(): boolean
  /** How long until the passing of time alone brings a token. */
  waitMs(): number
}

/**
 * Keeps retries from multiplying the load on a dependency that fails: at most `ratio` of the first attempts plus
 * `tokensPerSecond`. The idea is Finagle's retry budget.
 */
export function retryBudget(options: RetryBudgetOptions = {}): RetryBudget {
  const {
    name = 'retries',
    ratio = 0.1,
    tokensPerSecond = 10,
    maxTokens = 100,
    clock = systemClock,
  } = checkOptions('retryBudget', options, {
    name: text,
    ratio: number(0),
    tokensPerSecond: number(Number.MIN_VALUE),
    maxTokens: number(1),
    clock: clockKind,
  })

  let tokens = maxTokens
  let filledAtMs = clock.now()

  function fill(): number {
    const nowMs = clock.now()
    tokens = Math.min(maxTokens, tokens + ((nowMs - filledAtMs) / 1000) * tokensPerSecond)
    filledAtMs = nowMs
    return tokens
  }

  return {
    name,
    get tokens() {
      return Math.floor(fill())
    },
    earn() {
      // What is too much is cut when it is looked at.
      tokens += ratio
    },
    spend() {
      if (fill() < 1) return false
      tokens -= 1
      return true
    },
    waitMs() {
      const missing = 1 - fill()
      return missing > 0 ? (missing / tokensPerSecond) * 1000 : 0
    },
  }
}
