const most = 10_000

/** How often each message failed by itself, since it last got through. The latest 10,000 that failed are kept. */
export class Failures {
  readonly #byId = new Map<string, number>()

  of(id: string | null): number {
    return id === null ? 0 : (this.#byId.get(id) ?? 0)
  }

  /** Counts one more, and answers how many there are. A call without an id always fails for the first time. */
  add(id: string | null): number {
    if (id === null) return 1
    const count = this.of(id) + 1
    this.#byId.delete(id)
    this.#byId.set(id, count)
    if (this.#byId.size > most) {
      const [oldest] = this.#byId.keys()
      if (oldest !== undefined) this.#byId.delete(oldest)
    }
    return count
  }

  forget(id: string | null): void {
    if (id !== null && this.#byId.size > 0) this.#byId.delete(id)
  }
}
