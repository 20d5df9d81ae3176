import { whenAborted } from '../../core/signals.ts'

const first = 2
const halvedOncePerMs = 100
// So few calls are no load: what fails among them fails by itself. Of fewer outcomes than these nothing is concluded.
const few = 4
const enough = 20
// How much more must fail, of the last messages, than failed by themselves.
const more = 0.25

/**
 * How many calls may run at once after a circuit closed. Additive increase, multiplicative decrease (AIMD), as TCP does
 * it: one more for each round of successes, half after a failure, without bound once `max` is reached.
 */
export class Ramp {
  readonly #max: number
  #limit = Infinity
  #halvedAtMs = -Infinity
  #running = 0
  /** How calls ended while few ran: no more failed then than fail by themselves. */
  #among = 0
  #failed = 0
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
    this.#among = 0
    this.#failed = 0
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
    if (this.#limit <= few) this.#among++
    this.#limit += 1 / this.#limit
    if (this.#limit >= this.#max) this.#limit = Infinity
  }

  /**
   * Many calls fail together: that is one failure. Halving helps against load alone, not against messages that fail by
   * themselves: they would keep the ramp down for as long as they come.
   * @param isFirst - whether its message failed for the first time
   * @param share - of the last messages, how many failed
   */
  failed(nowMs: number, isFirst: boolean, share: number): void {
    if (isFirst && this.#limit <= few) {
      this.#among++
      this.#failed++
    }
    const own = this.#failed / this.#among
    // Where most fail it is the dependency, however few calls there are.
    if (this.#among < enough || own === 0 || own >= 0.5 || share > own + more) this.halve(nowMs)
  }

  /** @param starts - also where there was no bound */
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
