import { systemClock, type Clock } from './clock.ts'
import { ensureHeld, type Delivery, type Outcome, type Step } from './delivery.ts'
import { RetryLater } from './errors.ts'
import { badOption, callback, checkArgument, checkOptions, clockKind, count, ms, required } from './options.ts'

export interface BatchOptions {
  readonly maxSize: number
  /** Longest wait in ms of the first message for a full batch. @defaultValue 5 */
  readonly maxWaitMs?: number
  readonly clock?: Clock
}

/**
 * Handles one batch. If it returns nothing, all messages are handled. If it returns failures, those messages are nacked
 * with their error and the rest are handled. If it throws, all messages are nacked with that error.
 * A failure names its delivery, or a widened copy of it (`{ ...delivery, order }`).
 */
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

/** Collects deliveries that passed every middleware, and settles each by itself. A batch has at most one message of each key. */
export function batched<D extends Delivery>(options: BatchOptions, handler: BatchHandler<D>): Step<D> {
  const {
    maxSize,
    maxWaitMs = 5,
    clock = systemClock,
  } = checkOptions('handleBatch', options, { maxSize: required(count()), maxWaitMs: ms(0), clock: clockKind })
  checkArgument('handleBatch', 'handler', handler, callback)
  let waiting: Waiting<D>[] = []
  let cancel: (() => void) | undefined

  function flush(): void {
    cancel?.()
    cancel = undefined
    const keys = new Set<string>()
    const batch: Waiting<D>[] = []
    const later: Waiting<D>[] = []
    for (const each of waiting) {
      const { message, signal } = each.delivery
      try {
        if (signal.aborted)
          throw new RetryLater(0, { because: 'stopped while it waited for its batch', cause: signal.reason })
        ensureHeld(each.delivery)
      } catch (error) {
        each.reject(error)
        continue
      }
      const { key } = message
      const fits = batch.length < maxSize && (key === null || !keys.has(key))
      if (key !== null) keys.add(key)
      ;(fits ? batch : later).push(each)
    }
    waiting = later
    if (waiting.length > 0) cancel = clock.after(maxWaitMs, flush)
    if (batch.length > 0) void settle(batch)
  }

  async function settle(batch: readonly Waiting<D>[]): Promise<void> {
    try {
      const failures = await handler(batch.map(({ delivery }) => delivery))
      // By message: a handler may have widened the deliveries, and a failure must not be taken for a success.
      const failed = new Map(failures?.map(({ delivery, error }) => [delivery.message, error]))
      const known = new Set(batch.map(({ delivery }) => delivery.message))
      for (const message of failed.keys())
        if (!known.has(message)) throw badOption('handleBatch', 'failures', 'for deliveries of this batch', message.id)
      for (const { delivery, resolve, reject } of batch)
        if (failed.has(delivery.message)) reject(failed.get(delivery.message))
        else resolve('handled')
    } catch (error) {
      for (const { reject } of batch) reject(error)
    }
  }

  return function batch(delivery) {
    return new Promise((resolve, reject) => {
      waiting.push({ delivery, resolve, reject })
      if (waiting.length >= maxSize) flush()
      else cancel ??= clock.after(maxWaitMs, flush)
    })
  }
}
