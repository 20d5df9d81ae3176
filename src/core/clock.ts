/** The time source of every wait and every deadline. A test or a simulation passes a fake one. */
export interface Clock {
  /** Monotonic time in ms, for deadlines. */
  now(): number
  /** Wall-clock time in ms since 1970, for timestamps that people read. */
  wall(): number
  /** Calls back once, in about `ms`. The returned function cancels the timer. An `idle` timer does not keep the process alive. */
  after(ms: number, callback: () => void, idle?: boolean): () => void
}

// A longer delay makes Node's timers fire at once.
const longestTimerMs = 2 ** 31 - 1

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after: (ms, callback, idle = false) => {
    const timer = setTimeout(callback, Math.min(Math.max(ms, 0), longestTimerMs))
    if (idle) timer.unref()
    return () => clearTimeout(timer)
  },
}

/** Resolves after `ms`. Rejects with the signal's reason as soon as the signal aborts. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(reasonOf(signal))
    const dueMs = clock.now() + ms
    let cancel = clock.after(ms, woken)
    function woken(): void {
      const leftMs = dueMs - clock.now()
      if (leftMs > 1) {
        cancel = clock.after(leftMs, woken)
        return
      }
      signal?.removeEventListener('abort', aborted)
      resolve()
    }
    function aborted(): void {
      cancel()
      if (signal !== undefined) reject(reasonOf(signal))
    }
    signal?.addEventListener('abort', aborted, { once: true })
  })
}

function reasonOf(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new Error('aborted', { cause: signal.reason })
}
