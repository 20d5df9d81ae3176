import { staged, type Delivery, type Middleware, type Outcome } from '../core/delivery.ts'
import { isAbandoned, RetryLater } from '../core/errors.ts'
import { checkOptions, count, required } from '../core/options.ts'
import { whenAborted } from '../core/signals.ts'

export interface BulkheadOptions {
  /** Most handlers that run at once. */
  readonly maxConcurrent: number
  /** Most messages that wait for a place. Messages above that are nacked. @defaultValue no limit; the transport bounds it */
  readonly maxQueued?: number
}

const fullWaitMs = 100

/**
 * Runs at most `maxConcurrent` handlers at once. Other messages wait in order of arrival.
 * A handler that was given up keeps its place until it ends.
 */
export function bulkhead(options: BulkheadOptions): Middleware {
  const { maxConcurrent, maxQueued } = checkOptions('bulkhead', options, {
    maxConcurrent: required(count()),
    maxQueued: count(0),
  })
  const queue = new Queue()
  let running = 0

  function leave(): void {
    // A place goes from hand to hand: nobody who comes in between can take it.
    const first = queue.shift()
    if (first === undefined) running--
    else first.start()
  }

  const middleware: Middleware = (next) => {
    type Inner = Parameters<typeof next>[0]

    const left = (outcome: Outcome): Outcome => {
      leave()
      return outcome
    }
    const failed = (error: unknown): never => {
      if (isAbandoned(error)) void error.settled.then(leave, leave)
      else leave()
      throw error
    }

    /** Waits for a place, and goes on in the caller's own async context rather than in that of the handler that left. */
    async function wait(delivery: Inner): Promise<Outcome> {
      await new Promise<void>((resolve, reject) => {
        const stopListening = whenAborted(delivery.signal, () => {
          queue.remove(waiter)
          reject(stopped(delivery))
        })
        const waiter = new Waiter(() => {
          stopListening()
          resolve()
        })
        queue.push(waiter)
      })
      // The place is ours already; the abort may have come between its handing over and this line.
      if (delivery.signal.aborted) return failed(stopped(delivery))
      return next(delivery).then(left, failed)
    }

    return function bulkhead(delivery) {
      if (running < maxConcurrent) {
        running++
        return next(delivery).then(left, failed)
      }
      if (delivery.signal.aborted) return Promise.reject(stopped(delivery))
      if (maxQueued !== undefined && queue.length >= maxQueued)
        return Promise.reject(new RetryLater(fullWaitMs, { holds: 'pipeline', because: 'the bulkhead is full' }))
      return wait(delivery)
    }
  }
  return staged(middleware, { name: 'bulkhead', facts: { maxConcurrent } })
}

function stopped(delivery: Delivery): RetryLater {
  return new RetryLater(0, { because: 'stopped while it waited for its turn', cause: delivery.signal.reason })
}

class Waiter {
  readonly start: () => void
  before: Waiter | undefined
  after: Waiter | undefined

  constructor(start: () => void) {
    this.start = start
  }
}

/** First in, first out; taking one from the middle costs no more than taking the first. */
class Queue {
  length = 0
  #first: Waiter | undefined
  #last: Waiter | undefined

  push(waiter: Waiter): void {
    waiter.before = this.#last
    if (this.#last === undefined) this.#first = waiter
    else this.#last.after = waiter
    this.#last = waiter
    this.length++
  }

  shift(): Waiter | undefined {
    const first = this.#first
    if (first !== undefined) this.remove(first)
    return first
  }

  remove(waiter: Waiter): void {
    const { before, after } = waiter
    if (before === undefined) this.#first = after
    else before.after = after
    if (after === undefined) this.#last = before
    else after.before = before
    waiter.before = undefined
    waiter.after = undefined
    this.length--
  }
}
