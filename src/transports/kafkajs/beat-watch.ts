import type { Clock } from '../../core/clock.ts'
import { faultOf } from './kafka-errors.ts'

/**
 * Notices a group that answers no heartbeat. After each batch kafkajs sends one and fetches nothing until it is answered, so
 * no fetch shows that the broker is away.
 */
export class BeatWatch {
  readonly #clock: Clock
  readonly #patienceMs: number
  /** The first one since the last answer was sent then. */
  #sinceMs: number | undefined

  constructor(clock: Clock, patienceMs: number) {
    this.#clock = clock
    this.#patienceMs = patienceMs
  }

  sent(beat: Promise<unknown>): void {
    const sinceMs = (this.#sinceMs ??= this.#clock.now())
    const answered = (): void => {
      if (this.#sinceMs === sinceMs) this.clear()
    }
    beat.then(answered, (error: unknown) => {
      // A refusal of the group is an answer too.
      if (faultOf(error).type !== undefined) answered()
    })
  }

  /** kafkajs begins anew. */
  clear(): void {
    this.#sinceMs = undefined
  }

  get problem(): string | undefined {
    if (this.#sinceMs === undefined) return undefined
    const forMs = Math.round(this.#clock.now() - this.#sinceMs)
    if (forMs < this.#patienceMs) return undefined
    return `the group answered no heartbeat for ${forMs} ms, and kafkajs may fetch nothing until it does`
  }
}
