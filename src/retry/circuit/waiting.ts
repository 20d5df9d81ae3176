const most = 1_000

/** Who was refused since a circuit opened, each with the failures of its own. */
export class Waiting {
  readonly #failures = new Map<string, number>()

  /** Calls without an id wait as one: else messages that probe at once would let none of them through. */
  add(id: string | null, failures: number): void {
    if (this.#failures.size < most) this.#failures.set(id ?? '', failures)
  }

  leave(id: string | null): void {
    this.#failures.delete(id ?? '')
  }

  hasFewerThan(failures: number): boolean {
    for (const others of this.#failures.values()) if (others < failures) return true
    return false
  }

  clear(): void {
    this.#failures.clear()
  }
}
