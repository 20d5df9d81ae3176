import { setTimeout as sleep } from 'node:timers/promises'
import { isRetryLater } from '../../src/core/errors.ts'

export interface DispatcherOptions {
  readonly ids: readonly string[]
  /** Resolves with an ack, rejects with a nack. */
  readonly deliver: (id: string) => Promise<unknown>
  readonly random: () => number
  /** How many are in flight at once. @defaultValue 8 */
  readonly concurrency?: number
  /** The share that is delivered once more after its ack, as a broker may. @defaultValue 0.1 */
  readonly again?: number
  readonly signal: AbortSignal
}

/** A broker in this process: it delivers until every message is acked, and again what was nacked. */
export interface Dispatcher {
  /** Resolves once everything is settled; rejects where nothing was for half a minute. */
  readonly done: Promise<void>
  readonly acked: number
  readonly nacked: number
  /** Deliveries after the ack. */
  readonly again: number
  isAcked(id: string): boolean
  /** Resolves at the next ack of a message that had none, or with `done`. */
  nextAck(): Promise<void>
  /** Waits for it, and says whether it came true; it gives up with `done`. */
  until(condition: () => boolean): Promise<boolean>
}

const stalledMs = 30_000
const longestWaitMs = 300

export function dispatcher(options: DispatcherOptions): Dispatcher {
  const { ids, deliver, random, concurrency = 8, again: share = 0.1, signal } = options
  // What may be delivered, soonest first enough: a nacked message comes back when its wait is over.
  const queue: string[] = [...ids]
  const acked = new Set<string>()
  const counts = { acks: 0, nacked: 0, again: 0 }
  const waiting = new Set<() => void>()
  let open = queue.length
  let progressMs = performance.now()

  async function handle(id: string): Promise<void> {
    const known = acked.has(id)
    try {
      await deliver(id)
    } catch (error) {
      counts.nacked++
      // Soon, whatever was asked for: a broker that knows no delays.
      await sleep(isRetryLater(error) ? Math.min(error.afterMs, longestWaitMs) : 20)
      queue.unshift(id)
      return
    }
    open--
    progressMs = performance.now()
    acked.add(id)
    if (known) counts.again++
    else {
      for (const resolve of waiting) resolve()
      waiting.clear()
    }
    if (!known && random() < share) {
      open++
      queue.splice(Math.floor(random() * queue.length), 0, id)
    }
  }

  async function work(): Promise<void> {
    while (open > 0) {
      const id = queue.shift()
      if (id === undefined) await sleep(5)
      else await handle(id)
    }
  }

  /** Deliveries that hang, and runs that are to end early. */
  async function watch(over: AbortSignal): Promise<void> {
    for (;;) {
      await sleep(100, undefined, { signal: over })
      if (signal.aborted) throw new Error('stopped before everything was settled', { cause: signal.reason })
      if (performance.now() - progressMs > stalledMs)
        throw new Error(`${open} of ${ids.length} were not settled, and none for ${stalledMs} ms`)
    }
  }

  const over = new AbortController()
  const done = Promise.race([Promise.all(Array.from({ length: concurrency }, work)), watch(over.signal)])
    .then(() => {})
    .finally(() => {
      open = 0
      over.abort()
    })
  // Whoever waits for it hears of it; until then the process must not end for it.
  done.catch(() => {})
  return {
    done,
    get acked() {
      return acked.size
    },
    get nacked() {
      return counts.nacked
    },
    get again() {
      return counts.again
    },
    isAcked: (id) => acked.has(id),
    async until(condition) {
      while (!condition()) {
        if (open > 0) await sleep(2)
        else return done.then(condition)
      }
      return true
    },
    nextAck: () => Promise.race([done, new Promise<void>((resolve) => waiting.add(resolve))]),
  }
}

export function messageIds(count: number): readonly string[] {
  return Array.from({ length: count }, (_, n) => `m${n}`)
}
