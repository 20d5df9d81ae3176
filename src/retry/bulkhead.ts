import type { Clock } from '../core/clock.ts'
import { staged, type Delivery, type Middleware, type Outcome } from '../core/delivery.ts'
import { isAbandoned, RetryLater } from '../core/errors.ts'
import type { HasHealth, Health } from '../core/health.ts'
import type { Message } from '../core/message.ts'
import { badOption, callback, checkOptions, clockKind, count, having, oneOf, required, text } from '../core/options.ts'
import { whenAborted } from '../core/signals.ts'
import { bulkheadByGroup } from './places/by-group.ts'
import type { Limits } from './store.ts'

export interface BulkheadOptions {
  /** Most handlers that run at once: of each group, and of all processes that share it. */
  readonly maxConcurrent: number
  /** The name of the limit, for events and messages. Required with `share`: processes that share it use the same name. @defaultValue `'bulkhead'` */
  readonly name?: string
  /** Returns the group of a message, such as its tenant. Each group has its own places. @defaultValue one group for all */
  readonly by?: (message: Message) => string
  /** Shares the places between processes: `redisLimits(redis)` or `postgresLimits(pool)`. @defaultValue this process alone */
  readonly share?: Limits
  /** While the store of `share` is away: start nothing, or use `maxConcurrent` places in each process. @defaultValue `'wait'` */
  readonly whileAway?: 'wait' | 'this-process'
  /**
   * Most messages that wait in the bulkhead for a place. Messages above that are nacked. With `by` or `share` none waits there.
   * @defaultValue no limit; the transport bounds it
   */
  readonly maxQueued?: number
  readonly clock?: Clock
}

/** A bulkhead. */
export interface Bulkhead extends Middleware, HasHealth {}

const fullWaitMs = 100

/**
 * Runs at most `maxConcurrent` handlers at once. Other messages wait in order of arrival.
 * With `by` or `share`, a message above the limit is nacked with the time at which its place is likely to be free. That nack
 * holds the message's key and is no attempt; other groups go on.
 * A handler that was given up keeps its place until it ends.
 */
export function bulkhead(options: BulkheadOptions): Bulkhead {
  const checked = checkOptions('bulkhead', options, {
    maxConcurrent: required(count()),
    name: text,
    by: callback,
    share: having('hold'),
    whileAway: oneOf('wait', 'this-process'),
    maxQueued: count(0),
    clock: clockKind,
  })
  const { maxConcurrent, by, share, maxQueued } = checked
  if (share !== undefined && checked.name === undefined)
    throw badOption('bulkhead', 'name', 'a text that all processes use, with share', undefined)
  if (by === undefined && share === undefined) return inPlace(maxConcurrent, maxQueued)
  if (maxQueued !== undefined)
    throw badOption('bulkhead', 'maxQueued', 'left out with by or share: no message waits in the bulkhead', maxQueued)
  return bulkheadByGroup(checked)
}

/** The bulkhead of one process and one group: messages wait in it. */
function inPlace(maxConcurrent: number, maxQueued: number | undefined): Bulkhead {
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
  const health = (): Health => ({
    name: 'bulkhead',
    live: true,
    ready: true,
    details: { maxConcurrent, running, waiting: queue.length },
  })
  return Object.assign(staged(middleware, { name: 'bulkhead', facts: { maxConcurrent } }), { health })
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
