import type { Clock } from '../../core/clock.ts'

interface Asked {
  /** The first fetch since the broker answered one. */
  readonly sinceMs: number
  /** The latest fetch: kafkajs sends another one when it gave up the one before. */
  startedMs: number
}

// Beyond what a fetch waits for messages.
const patienceMs = 10_000
// kafkajs asks an existing broker again within this time. A broker that it asks no more leads nothing of ours.
const forgottenMs = 120_000

/** Notices a broker that answers no fetch: kafkajs tries again for minutes before it says so. */
export class FetchWatch {
  readonly #clock: Clock
  readonly #maxWaitMs: number
  readonly #asked = new Map<number, Asked>()

  constructor(clock: Clock, maxWaitMs: number) {
    this.#clock = clock
    this.#maxWaitMs = maxWaitMs
  }

  started(node: number): void {
    const nowMs = this.#clock.now()
    const asked = this.#asked.get(node)
    if (asked === undefined) this.#asked.set(node, { sinceMs: nowMs, startedMs: nowMs })
    else asked.startedMs = nowMs
  }

  answered(node: number): void {
    this.#asked.delete(node)
  }

  /** kafkajs begins anew. */
  clear(): void {
    this.#asked.clear()
  }

  get problem(): string | undefined {
    const nowMs = this.#clock.now()
    for (const [node, { sinceMs, startedMs }] of this.#asked) {
      const forMs = Math.round(nowMs - sinceMs)
      if (forMs >= this.#maxWaitMs + patienceMs && nowMs - startedMs < forgottenMs)
        return `messages cannot be fetched from broker ${node}: it answered nothing for ${forMs} ms`
    }
    return undefined
  }
}
