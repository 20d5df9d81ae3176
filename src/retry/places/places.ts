import type { Clock } from '../../core/clock.ts'
import { PlaceQueue } from './queue.ts'

export interface PlaceTerms {
  readonly name: string
  /** Most that run at once, of all processes where they share it. */
  readonly max: number
  readonly clock: Clock
}

/** What one message was told. */
export type Entry = { readonly place: Place } | { readonly waitMs: number }

/** A place that is taken until it is left. */
export interface Place {
  /** Aborts where the place is lost while its message runs. Missing where it cannot be lost. */
  readonly lost?: AbortSignal
  leave(): void
}

/** The places of one group. */
export interface Places {
  enter(id: string): Entry | Promise<Entry>
  readonly held: number
  /** Places that this process may take now. */
  readonly granted: number
  readonly waiting: number
  readonly isIdle: boolean
}

/** Those of one process. */
export class LocalPlaces implements Places {
  held = 0
  readonly #terms: PlaceTerms
  readonly #queue: PlaceQueue

  constructor(terms: PlaceTerms) {
    this.#terms = terms
    this.#queue = new PlaceQueue(terms.clock)
  }

  get granted(): number {
    return this.#terms.max
  }

  get waiting(): number {
    return this.#queue.length
  }

  get isIdle(): boolean {
    return this.held === 0 && this.#queue.length === 0
  }

  enter(id: string): Entry {
    const free = this.#terms.max - this.held
    // A place that falls free is for those who were told to come back for it.
    const isNext = this.#queue.has(id) || this.#queue.length < free
    if (free < 1 || !isNext) return { waitMs: this.#queue.join(id, this.#terms.max) }
    this.#queue.leave(id)
    this.held++
    const { clock } = this.#terms
    const startedMs = clock.now()
    return {
      place: {
        leave: () => {
          this.held--
          this.#queue.ran(clock.now() - startedMs)
        },
      },
    }
  }
}
