import type { Clock } from '../core/clock.ts'
import { HoldfastError } from '../core/errors.ts'
import { emitter } from '../core/events.ts'
import type { Limits } from './store.ts'

const shareChanged = emitter('share-changed')

export interface RateTerms {
  readonly name: string
  readonly perSecond: number
  /** How many tokens may be saved up. */
  readonly burst: number
  readonly clock: Clock
}

// Sums of fractions such as 0.1 miss a whole number by less than this.
const tinyShare = 1e-6
// A timer of Node's may fire a little early.
const earlyMs = 2
// A message may be handed to another process, and then it never comes back for its token.
const keptForMs = 60_000
const aheadMs = 60_000
const answerWithinMs = 500

/** Tokens at a fixed rate, by the generic cell rate algorithm (GCRA). If no token is free, a future one is reserved. */
export class Rate {
  readonly #terms: RateTerms
  readonly #gapMs: number
  readonly #tickets: Tickets
  /** When the bucket is full again; each token moves it by one gap. */
  #fullAtMs: number

  constructor(terms: RateTerms) {
    this.#terms = terms
    this.#gapMs = 1000 / terms.perSecond
    this.#tickets = new Tickets(terms.clock)
    this.#fullAtMs = terms.clock.now()
  }

  get tokens(): number {
    return Math.max(0, Math.floor(1 - this.#nextInMs() / this.#gapMs + tinyShare))
  }

  earn(tokens: number): void {
    // What is too much is cut when it is looked at.
    this.#fullAtMs -= tokens * this.#gapMs
  }

  /** How long that one has to wait for its token: 0 where it has one. Asked again after that time, it pays nothing. */
  take(id: string): number {
    const leftMs = this.#tickets.leftMs(id)
    if (leftMs !== undefined) return leftMs
    const waitMs = this.#nextInMs()
    this.#fullAtMs += this.#gapMs
    if (waitMs <= tinyShare * this.#gapMs) return 0
    this.#tickets.give(id, waitMs)
    return waitMs
  }

  /** How long until one more token is there; below zero where several are. */
  #nextInMs(): number {
    const nowMs = this.#terms.clock.now()
    this.#fullAtMs = Math.max(this.#fullAtMs, nowMs)
    return this.#fullAtMs - nowMs - (this.#terms.burst - 1) * this.#gapMs
  }
}

/** The same tokens for many processes. While the store does not answer, each process has a bucket of its own. */
export class SharedRate {
  readonly #terms: RateTerms
  readonly #limits: Limits
  readonly #own: Rate
  readonly #tickets: Tickets
  #earned = 0
  #online = true

  constructor(terms: RateTerms, limits: Limits) {
    this.#terms = terms
    this.#limits = limits
    this.#own = new Rate(terms)
    this.#tickets = new Tickets(terms.clock)
  }

  /** Those of this process while the store is away. */
  get tokens(): number {
    return this.#own.tokens
  }

  /** Travels with the next token that is taken. */
  earn(tokens: number): void {
    this.#earned += tokens
    this.#own.earn(tokens)
  }

  async take(id: string): Promise<number> {
    const leftMs = this.#tickets.leftMs(id)
    if (leftMs !== undefined) return leftMs
    const { name, perSecond, burst } = this.#terms
    const earned = this.#earned
    this.#earned = 0
    try {
      const { taken, inMs } = await this.#inTime(
        this.#limits.take(name, { count: 1, perSecond, burst, aheadMs, earned }),
      )
      this.#tell(true)
      if (taken > 0 && inMs > 0) this.#tickets.give(id, inMs)
      return inMs
    } catch (error) {
      this.#earned += earned
      this.#tell(false, error)
      return this.#own.take(id)
    }
  }

  async #inTime<T>(answer: Promise<T>): Promise<T> {
    const late = Promise.withResolvers<never>()
    const because = `${this.#limits.name} did not answer in ${answerWithinMs} ms`
    const giveUp = (): void => late.reject(new HoldfastError('unavailable', because))
    const cancel = this.#terms.clock.after(answerWithinMs, giveUp, true)
    return Promise.race([answer, late.promise]).finally(cancel)
  }

  #tell(online: boolean, error?: unknown): void {
    if (online === this.#online) return
    this.#online = online
    const { name } = this.#terms
    if (shareChanged.active()) shareChanged.publish({ name, share: this.#limits.name, online, error })
  }
}

/** Tokens that were taken ahead, by what they are for. */
class Tickets {
  readonly #dueAtMs = new Map<string, number>()
  readonly #clock: Clock

  constructor(clock: Clock) {
    this.#clock = clock
  }

  give(id: string, inMs: number): void {
    const nowMs = this.#clock.now()
    // The oldest stand first, and they are due first.
    for (const [other, dueAtMs] of this.#dueAtMs) {
      if (dueAtMs > nowMs - keptForMs) break
      this.#dueAtMs.delete(other)
    }
    this.#dueAtMs.set(id, nowMs + inMs)
  }

  /** How long until the token is good: 0 takes it. `undefined` where there is none. */
  leftMs(id: string): number | undefined {
    const dueAtMs = this.#dueAtMs.get(id)
    if (dueAtMs === undefined) return undefined
    const leftMs = dueAtMs - this.#clock.now()
    if (leftMs > earlyMs) return leftMs
    this.#dueAtMs.delete(id)
    return 0
  }
}
