// The share of others is taken of this many messages, and of none older than this.
const most = 20
const oldestMs = 10_000

interface Seen {
  readonly atMs: number
  readonly id: string | null
  readonly failed: boolean
}

/** How the last messages fared. A message's failures count once. */
export class Recent {
  readonly #seen: Seen[] = []

  add(atMs: number, id: string | null, failed: boolean): void {
    this.#seen.push({ atMs, id, failed })
    if (this.#seen.length > most) this.#seen.shift()
  }

  /** The share of other messages that failed, between 0 and 1; 1 where nothing is known of any. */
  failedShare(nowMs: number, id: string | null): number {
    const others = this.#seen.filter((seen) => seen.atMs >= nowMs - oldestMs && !(seen.failed && seen.id === id))
    return others.length === 0 ? 1 : others.filter(({ failed }) => failed).length / others.length
  }
}
