import type { Delivery, Outcome, Step } from './delivery.ts'
import { RetryLater } from './errors.ts'
import { requireCount, requireMs } from './options.ts'

export interface BatchOptions {
  readonly maxSize: number
  /** How long the first message of a batch waits for others. @defaultValue 5 */
  readonly maxWaitMs?: number
}

/** Return nothing: all handled. Return failures: those throw their error, the rest are handled. Throw: all throw it. */
export type BatchHandler<D> = (deliveries: readonly D[]) => Promise<readonly BatchFailure<D>[] | void>

export interface BatchFailure<D> {
  readonly delivery: D
  readonly error: unknown
}

interface Waiting<D> {
  readonly delivery: D
  readonly resolve: (outcome: Outcome) => void
  readonly reject: (error: unknown) => void
}

/** Collects deliveries that passed every middleware, and settles each by itself. A batch has at most one of a key. */
export function batched<D extends Delivery>(
  { maxSize, maxWaitMs = 5 }: BatchOptions,
  handler: BatchHandler<D>,
): Step<D> {
  requireCount('handleBatch', { maxSize })
  requireMs('handleBatch', { maxWaitMs }, 0)
  let waiting: Waiting<D>[] = []
  let timer: NodeJS.Timeout | undefined

  function flush(): void {
    clearTimeout(timer)
    timer = undefined
    const keys = new Set<string>()
    const batch: Waiting<D>[] = []
    const later: Waiting<D>[] = []
    for (const each of waiting) {
      const { message, signal } = each.delivery
      if (signal.aborted) {
        each.reject(new RetryLater(0, { because: 'stopped while it waited for its batch', cause: signal.reason }))
        continue
      }
      const { key } = message
      const fits = batch.length < maxSize && (key === null || !keys.has(key))
      if (key !== null) keys.add(key)
      ;(fits ? batch : later).push(each)
    }
    waiting = later
    if (waiting.length > 0) timer = setTimeout(flush, maxWaitMs)
    if (batch.length > 0) void settle(batch)
  }

  async function settle(batch: readonly Waiting<D>[]): Promise<void> {
    try {
      const failures = await handler(batch.map(({ delivery }) => delivery))
      const failed = new Map(failures?.map(({ delivery, error }) => [delivery, error]))
      for (const { delivery, resolve, reject } of batch)
        if (failed.has(delivery)) reject(failed.get(delivery))
        else resolve('handled')
    } catch (error) {
      for (const { reject } of batch) reject(error)
    }
  }

  return function batch(delivery) {
    return new Promise((resolve, reject) => {
      waiting.push({ delivery, resolve, reject })
      if (waiting.length >= maxSize) flush()
      else timer ??= setTimeout(flush, maxWaitMs)
    })
  }
}
