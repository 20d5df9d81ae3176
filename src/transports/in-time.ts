import type { Clock } from '../core/clock.ts'
import { HoldfastError } from '../core/errors.ts'

export interface Deadline {
  /** For error texts, such as `Kafka`. */
  readonly broker: string
  readonly timeoutMs: number
  readonly clock: Clock
}

/** A client may wait for an answer for ever: the deadline is our own. */
export function inTime<T>(
  work: Promise<T>,
  signal: AbortSignal | undefined,
  { broker, timeoutMs, clock }: Deadline,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(timeoutMs, () =>
      end(() => reject(new HoldfastError('unavailable', `${broker} did not confirm within ${timeoutMs} ms`))),
    )
    const aborted = (): void =>
      end(() => reject(new HoldfastError('unavailable', 'publishing was aborted', { cause: signal?.reason })))
    function end(act: () => void): void {
      cancel()
      signal?.removeEventListener('abort', aborted)
      act()
    }
    signal?.addEventListener('abort', aborted, { once: true })
    work.then(
      (value) => end(() => resolve(value)),
      (error: unknown) => end(() => reject(error)),
    )
  })
}
