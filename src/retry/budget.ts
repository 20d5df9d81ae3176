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
    clock = systemClock,
  } = checkOptions('retryBudget', options, {
    name: text,
    ratio: number(0),
    tokensPerSecond: number(Number.MIN_VALUE),
    maxTokens: number(1),
    clock: clockKind,
  })

  const gapMs = 1000 / tokensPerSecond
  const tickets = new Tickets(clock)
  /** When the bucket is full again; each token moves it by one gap. */
  let fullAtMs = clock.now()

  /** How long until one more token is there; below zero where several are. */
  function nextInMs(): number {
    const nowMs = clock.now()
    fullAtMs = Math.max(fullAtMs, nowMs)
    return fullAtMs - nowMs - (maxTokens - 1) * gapMs
  }

  return {
    name,
    get tokens() {
      return Math.max(0, Math.floor(1 - nextInMs() / gapMs + tinyShare))
    },
    earn() {
      // What is too much is cut when it is looked at.
      fullAtMs -= ratio * gapMs
    },
    spend(messageId) {
      const leftMs = tickets.leftMs(messageId)
      if (leftMs !== undefined) return leftMs
      const waitMs = nextInMs()
      fullAtMs += gapMs
      if (waitMs <= tinyShare * gapMs) return 0
      tickets.give(messageId, waitMs)
      return waitMs
    },
  }
}

// Sums of fractions such as 0.1 miss a whole number by less than this.
const tinyShare = 1e-6
// A timer of Node's may fire a little early.
const earlyMs = 2
// A message may be handed to another process, and then it never comes back for its token.
const keptForMs = 60_000

/** Tokens that were taken ahead, by the message that they are for. */
export class Tickets {
  readonly #dueAtMs = new Map<string, number>()
  readonly #clock: Clock

  constructor(clock: Clock) {
    this.#clock = clock
  }

  give(messageId: string, inMs: number): void {
    const nowMs = this.#clock.now()
    // The oldest stand first, and they are due first.
    for (const [id, dueAtMs] of this.#dueAtMs) {
      if (dueAtMs > nowMs - keptForMs) break
      this.#dueAtMs.delete(id)
    }
    this.#dueAtMs.set(messageId, nowMs + inMs)
  }

  /** How long until the token of the message is good: 0 takes it. `undefined` where it has none. */
  leftMs(messageId: string): number | undefined {
    const dueAtMs = this.#dueAtMs.get(messageId)
    if (dueAtMs === undefined) return undefined
    const leftMs = dueAtMs - this.#clock.now()
    if (leftMs > earlyMs) return leftMs
    this.#dueAtMs.delete(messageId)
    return 0
  }
}
