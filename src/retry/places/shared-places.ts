import { HoldfastError } from '../../core/errors.ts'
import { emitter } from '../../core/events.ts'
import type { Limits } from '../store.ts'
import { PlaceQueue } from './queue.ts'
import type { Entry, Place, Places, PlaceTerms } from './places.ts'

const shareChanged = emitter('share-changed')

const answerWithinMs = 500
/** Refused messages come back often: they ask the store no more often than this. */
const askEveryMs = 50
const beatsOfLease = 5

export interface SharedPlaceTerms extends PlaceTerms {
  readonly owner: string
  readonly limits: Limits & Required<Pick<Limits, 'hold' | 'leaseMs'>>
  /** Whether this process has places of its own while the store is away. */
  readonly alone: boolean
}

class Running {
  readonly lost = new AbortController()
  readonly startedMs: number

  constructor(startedMs: number) {
    this.startedMs = startedMs
  }
}

/**
 * Places of all processes. This one is granted a lot of them under a lease, and its messages take them without a round
 * trip. Safe are three rules: it starts nothing above what it told while a request is on its way, nothing in the last part of
 * its lease, and what still runs then is aborted.
 */
export class SharedPlaces implements Places {
  readonly #terms: SharedPlaceTerms
  readonly #queue: PlaceQueue
  readonly #running = new Set<Running>()
  #granted = 0
  /** From before the request was sent: the store's lease ends no earlier. */
  #leaseEndsAtMs = -Infinity
  /** What the store was told of, while its answer is on its way. */
  #told = Infinity
  #asking: Promise<void> | undefined
  #askedAtMs = -Infinity
  /** Most that ran or waited here since the store was asked. */
  #peak = 0
  #beats = false
  #cancelAbort = (): void => {}
  #online = true

  constructor(terms: SharedPlaceTerms) {
    this.#terms = terms
    this.#queue = new PlaceQueue(terms.clock)
  }

  get held(): number {
    return this.#running.size
  }

  get granted(): number {
    if (!this.#online && this.#terms.alone) return this.#terms.max
    return this.#nowMs < this.#leaseEndsAtMs - this.#marginMs ? this.#granted : 0
  }

  get waiting(): number {
    return this.#queue.length
  }

  get isIdle(): boolean {
    return this.held === 0 && this.#queue.length === 0
  }

  get online(): boolean {
    return this.#online
  }

  async enter(id: string): Promise<Entry> {
    let place = this.#take(id)
    if (place !== undefined) return { place }
    const isKnown = this.#queue.has(id)
    this.#queue.join(id, this.#granted)
    this.#peak = Math.max(this.#peak, this.held + this.#queue.length)
    // A request that is on its way does not know of this one.
    if (this.#asking !== undefined) await this.#asking
    place = this.#take(id)
    // What comes back and finds no place is known to the store already.
    if (place === undefined && this.#online && (!isKnown || this.#nowMs - this.#askedAtMs >= askEveryMs)) {
      await this.#ask()
      place = this.#take(id)
    }
    if (place !== undefined) return { place }
    // While the store is away, only this asks it.
    this.#beat()
    return { waitMs: this.#queue.join(id, this.#granted) }
  }

  #take(id: string): Place | undefined {
    const free = Math.min(this.granted, this.#told) - this.held
    if (free < 1 || !(this.#queue.has(id) || this.#queue.length < free)) return undefined
    this.#queue.leave(id)
    const running = new Running(this.#nowMs)
    this.#running.add(running)
    this.#peak = Math.max(this.#peak, this.held + this.#queue.length)
    this.#beat()
    return {
      lost: running.lost.signal,
      leave: () => {
        if (this.#running.delete(running)) this.#queue.ran(this.#nowMs - running.startedMs)
      },
    }
  }

  #ask(): Promise<void> {
    this.#asking ??= this.#askNow().finally(() => (this.#asking = undefined))
    return this.#asking
  }

  async #askNow(): Promise<void> {
    const { limits, name, owner, max } = this.#terms
    const { leaseMs } = limits
    const sentAtMs = this.#nowMs
    this.#askedAtMs = sentAtMs
    this.#told = this.held
    const want = Math.max(this.#peak, this.held + this.#queue.length)
    this.#peak = this.held + this.#queue.length
    try {
      this.#granted = await this.#inTime(limits.hold(name, { owner, held: this.held, want, max, leaseMs }))
      this.#renewed(sentAtMs)
      this.#tell(true)
    } catch (error) {
      this.#tell(false, error)
    } finally {
      this.#told = Infinity
    }
  }

  /** Renews the lease while anything runs or waits, and gives the places back after that. */
  #beat(): void {
    if (this.#beats) return
    this.#beats = true
    const { clock, limits } = this.#terms
    const again = (): void => {
      this.#beats = false
      void this.#ask().then(() => {
        if (this.granted > 0 || !this.isIdle) this.#beat()
      })
    }
    clock.after(limits.leaseMs / beatsOfLease, again, true)
  }

  #renewed(sentAtMs: number): void {
    const { clock, limits } = this.#terms
    this.#leaseEndsAtMs = sentAtMs + limits.leaseMs
    this.#cancelAbort()
    const inMs = this.#leaseEndsAtMs - this.#marginMs / 2 - this.#nowMs
    this.#cancelAbort = clock.after(inMs, () => this.#abortAll(), true)
  }

  /** The lease could not be renewed: running work must end before others start. */
  #abortAll(): void {
    if (this.#terms.alone) return
    const because = `${this.#terms.name}: the lease of its places could not be renewed`
    for (const { lost } of this.#running) lost.abort(new HoldfastError('unavailable', because))
  }

  get #marginMs(): number {
    return this.#terms.limits.leaseMs / beatsOfLease
  }

  async #inTime<T>(answer: Promise<T>): Promise<T> {
    const late = Promise.withResolvers<never>()
    const because = `${this.#terms.limits.name} did not answer in ${answerWithinMs} ms`
    const cancel = this.#terms.clock.after(
      answerWithinMs,
      () => late.reject(new HoldfastError('unavailable', because)),
      true,
    )
    return Promise.race([answer, late.promise]).finally(cancel)
  }

  #tell(online: boolean, error?: unknown): void {
    if (online === this.#online) return
    this.#online = online
    const { name, limits } = this.#terms
    if (shareChanged.active()) shareChanged.publish({ name, share: limits.name, online, error })
  }

  get #nowMs(): number {
    return this.#terms.clock.now()
  }
}
