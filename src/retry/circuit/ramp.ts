import { whenAborted } from '../../core/signals.ts'

const first = 2
const halvedOncePerMs = 100

/**
 * How many calls may run at once after a circuit closed. Additive increase, multiplicative decrease (AIMD), as TCP does
 * it: one more for each round of successes, half after a failure, without bound once `max` is reached.
 */
export class Ramp {
  readonly #max: number
  #limit = Infinity
  #halvedAtMs = -Infinity
  #running = 0
  readonly #waiting = new Set<() => void>()

  constructor(max: number) {
    this.#max = max
  }

  /** `null` where there is no bound. */
  get limit(): number | null {
    return this.#limit === Infinity ? null : Math.floor(this.#limit)
  }

  get isFull(): boolean {
    return this.#running >= Math.floor(this.#limit)
  }

  begin(): void {
    this.#limit = Math.min(first, this.#max)
  }

  enter(): void {
    this.#running++
  }

  leave(): void {
    this.#running--
    if (this.#waiting.size > 0) this.#wake()
  }

  succeeded(): void {
    if (this.#limit === Infinity) return
    this.#limit += 1 / this.#limit
    if (this.#limit >= this.#max) this.#limit = Infinity
  }

  /** Many calls fail together: that is one failure. */
  halve(nowMs: number, { starts = false }: { readonly starts?: boolean } = {}): void {
    if (this.#limit === Infinity && !starts) return
    if (nowMs - this.#halvedAtMs < halvedOncePerMs) return
    this.#halvedAtMs = nowMs
    const now = this.#limit === Infinity ? Math.min(this.#running, this.#max) : this.#limit
    this.#limit = Math.max(1, now / 2)
  }

  /** Resolves when there may be a place, or when the circuit has changed. @throws the signal's reason */
  wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const wake = (): void => {
        this.#waiting.delete(wake)
        stopListening()
        resolve()
      }
      const stopListening = whenAborted(signal, (reason) => {
        this.#waiting.delete(wake)
        reject(reason instanceof Error ? reason : new Error('aborted', { cause: reason }))
      })
      this.#waiting.add(wake)
    })
  }

  wakeAll(): void {
    for (const wake of [...this.#waiting]) wake()
  }

  /** In order of arrival. */
  #wake(): void {
    let free = Math.floor(this.#limit) - this.#running
    for (const wake of this.#waiting) {
      if (free-- < 1) break
      wake()
    }
  }
}
