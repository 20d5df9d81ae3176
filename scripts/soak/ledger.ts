export interface Figures {
  readonly published: number
  readonly handled: number
  /** What came again after it was handled, such as from a member that left in the middle. */
  readonly repeats: number
  /** Messages that were handled before the one in front of them: it is lost, or out of order. */
  readonly jumps: number
}

/** What was published and what was handled. It keeps one number and the times of the backlog for each key, nothing else. */
export class Ledger {
  readonly #published = new Map<string, number>()
  readonly #done = new Map<string, number>()
  /** When the messages of a key were published that are not handled yet. */
  readonly #waiting = new Map<string, number[]>()
  #count = 0
  #repeats = 0
  #jumps = 0

  /** The next number of a key, from 1 on. */
  next(key: string): number {
    const number = (this.#published.get(key) ?? 0) + 1
    this.#published.set(key, number)
    const waiting = this.#waiting.get(key)
    if (waiting === undefined) this.#waiting.set(key, [performance.now()])
    else waiting.push(performance.now())
    this.#count++
    return number
  }

  handled(key: string, number: number): void {
    const done = this.#done.get(key) ?? 0
    if (number <= done) return void this.#repeats++
    if (number > done + 1) this.#jumps++
    this.#done.set(key, number)
    this.#waiting.get(key)?.splice(0, number - done)
  }

  get backlog(): number {
    return this.#count - [...this.#done.values()].reduce((sum, done) => sum + done, 0)
  }

  /** How long the message waits that waits longest, and its key. */
  oldest(): { readonly key: string; readonly ms: number } | undefined {
    let oldest: { key: string; sinceMs: number } | undefined
    for (const [key, [sinceMs]] of this.#waiting)
      if (sinceMs !== undefined && sinceMs < (oldest?.sinceMs ?? Infinity)) oldest = { key, sinceMs }
    return oldest && { key: oldest.key, ms: performance.now() - oldest.sinceMs }
  }

  figures(): Figures {
    return {
      published: this.#count,
      handled: this.#count - this.backlog,
      repeats: this.#repeats,
      jumps: this.#jumps,
    }
  }
}
