import { keepAtMost } from '../../core/bounded.ts'

const most = 10_000

export interface Failed {
  /** How often it failed by itself since it last got through. */
  readonly times: number
  /** How many answers there had been when it failed last. */
  readonly answers: number
}

const never: Failed = { times: 0, answers: 0 }

/** The failures of each message that has not got through since. The latest 10,000 that failed are kept. */
export class Failures {
  readonly #byId = new Map<string, Failed>()

  of(id: string | null): Failed {
    return id === null ? never : (this.#byId.get(id) ?? never)
  }

  /** Counts one more, and answers what there was before. A call without an id always fails for the first time. */
  add(id: string | null, answers: number): Failed {
    if (id === null) return never
    const before = this.of(id)
    this.#byId.delete(id)
    this.#byId.set(id, { times: before.times + 1, answers })
    keepAtMost(most, this.#byId)
    return before
  }

  forget(id: string | null): void {
    if (id !== null && this.#byId.size > 0) this.#byId.delete(id)
  }
}
