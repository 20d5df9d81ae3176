import type { Clock } from '../../core/clock.ts'

// A message may be handed to another process, and then it never comes back for its place.
const keptForMs = 2_000
const leastWaitMs = 5
const longestWaitMs = 30_000
const firstGuessMs = 50
const weightOfNewest = 0.2

/** Who was told to come back for a place, and how long a place is taken on average. */
export class PlaceQueue {
  readonly #dueAtMs = new Map<string, number>()
  readonly #clock: Clock
  #meanMs = firstGuessMs

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get length(): number {
    return this.#dueAtMs.size
  }

  has(id: string): boolean {
    return this.#dueAtMs.has(id)
  }

  leave(id: string): void {
    this.#dueAtMs.delete(id)
  }

  /** Puts it in line, at its old position or at the end, and answers when its place is likely to be free. */
  join(id: string, places: number): number {
    this.#forgetLate()
    const position = this.#positionOf(id)
    const wantedMs = (position / Math.max(1, places)) * this.#meanMs
    const waitMs = Math.min(Math.max(wantedMs, leastWaitMs), longestWaitMs)
    this.#dueAtMs.set(id, this.#clock.now() + waitMs)
    return waitMs
  }

  ran(ms: number): void {
    this.#meanMs += (ms - this.#meanMs) * weightOfNewest
  }

  #positionOf(id: string): number {
    if (!this.#dueAtMs.has(id)) return this.#dueAtMs.size + 1
    let position = 1
    for (const other of this.#dueAtMs.keys()) {
      if (other === id) break
      position++
    }
    return position
  }

  #forgetLate(): void {
    const overMs = this.#clock.now() - keptForMs
    for (const [id, dueAtMs] of this.#dueAtMs) if (dueAtMs < overMs) this.#dueAtMs.delete(id)
  }
}
