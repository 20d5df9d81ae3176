import { sleep, type Clock } from '../core/clock.ts'
import { HoldfastError } from '../core/errors.ts'
import { emitter } from '../core/events.ts'

const consumerChanged = emitter('consumer-changed')

export type Report = (change: string, detail?: Readonly<Record<string, unknown>>, error?: unknown) => void

/** Publishes what happens to a consumer. */
export function reporter(system: string, group: string): Report {
  return (change, detail = {}, error) => {
    if (!consumerChanged.active()) return
    const event = { system, group, change, detail }
    consumerChanged.publish(error === undefined ? event : { ...event, error })
  }
}

/** Waits for `work`, at most `ms`. What it rejects with is its caller's to handle elsewhere. */
export async function within(clock: Clock, ms: number, work: Promise<unknown>): Promise<void> {
  const inTime = new AbortController()
  await Promise.race([work.catch(() => {}), sleep(clock, ms, inTime.signal).catch(() => {})])
  inTime.abort()
}

/** The one run that a consumer has: from the call of `run()` to its signal's abort, or to a failure beyond help. */
export class Run {
  readonly #name: string
  readonly #over = Promise.withResolvers<void>()
  readonly #draining = new AbortController()
  #begun = false

  constructor(name: string) {
    this.#name = name
    // It may fail before anybody awaits it.
    this.#over.promise.catch(() => {})
  }

  /** @throws HoldfastError for a second call. */
  begin(signal: AbortSignal): void {
    if (this.#begun)
      throw new HoldfastError('bad-order', `${this.#name}: run() was called before; make a new consumer for a new run`)
    this.#begun = true
    if (signal.aborted) this.#over.resolve()
    else signal.addEventListener('abort', () => this.#over.resolve(), { once: true })
  }

  /** Resolves when it should stop; rejects with what it failed of. */
  get over(): Promise<void> {
    return this.#over.promise
  }

  fail(error: Error): void {
    this.#over.reject(error)
  }

  finish(): void {
    this.#over.resolve()
  }

  /** Aborts when the consumer stops: what only waits gives up. */
  get draining(): AbortSignal {
    return this.#draining.signal
  }

  get isStopping(): boolean {
    return this.#draining.signal.aborted
  }

  stop(): void {
    this.#draining.abort(new HoldfastError('stopped', 'shutting down'))
  }
}
