import type { Clock } from '../../core/clock.ts'
import { reasonOf } from './errors.ts'
import type { FetchTroubles } from './fetch-troubles.ts'
import type { FoundTopics, Wire } from './wire.ts'

// What the client remembers lasts only where it was told of every topic.
const lookAgainMs = 1_000

/** Where the partitions are. A topic that the brokers tell nothing of is a trouble of its own, and the others go on. */
export class Topology {
  readonly #wire: Pick<Wire, 'found' | 'forget'>
  readonly #topics: readonly string[]
  readonly #troubles: FetchTroubles
  readonly #clock: Clock
  #partial: { readonly found: FoundTopics; readonly untilMs: number } | undefined

  constructor(wire: Pick<Wire, 'found' | 'forget'>, topics: readonly string[], troubles: FetchTroubles, clock: Clock) {
    this.#wire = wire
    this.#topics = topics
    this.#troubles = troubles
    this.#clock = clock
  }

  /** Rejects where no broker answers. */
  async look(): Promise<FoundTopics> {
    if (this.#partial !== undefined && this.#clock.now() < this.#partial.untilMs) return this.#partial.found
    const found = await this.#wire.found(this.#topics)
    const untilMs = this.#clock.now() + lookAgainMs
    this.#partial = found.refused.size === 0 ? undefined : { found, untilMs }
    for (const topic of this.#topics) {
      const error = found.refused.get(topic)
      if (error === undefined) this.#troubles.over(topic)
      else this.#troubles.refused(topic, reasonOf(error))
    }
    return found
  }

  /** Something has moved: everything is asked for again. */
  forget(): void {
    this.#partial = undefined
    this.#wire.forget()
  }
}
