import { systemClock, type Clock } from '../core/clock.ts'
import { staged, type Middleware } from '../core/delivery.ts'
import { RetryLater } from '../core/errors.ts'
import { emitter } from '../core/events.ts'
import { guarded } from '../core/guarded.ts'
import type { Message } from '../core/message.ts'
import { badOption, callback, checkOptions, clockKind, having, number, required, text } from '../core/options.ts'
import { Groups } from './circuit/groups.ts'
import { Rate, SharedRate } from './rate.ts'
import { requireSameTerms } from './same-terms.ts'
import type { Limits } from './store.ts'

export interface RateLimitOptions {
  /** The name of the limit, for events and messages. Processes that share it use the same name. @defaultValue `'rate'` */
  readonly name?: string
  readonly perSecond: number
  /** Most handlers that may start at once after a quiet time. @defaultValue `perSecond`, at least 1 */
  readonly burst?: number
  /** Returns the group of a message, such as its tenant. Each group has its own rate. @defaultValue one rate for all */
  readonly by?: (message: Message) => string
  /** Shares the rate between processes: `redisLimits(redis)` or `postgresLimits(pool)`. @defaultValue this process alone */
  readonly share?: Limits
  readonly clock?: Clock
}

const limitReached = emitter('limit-reached')

/**
 * Starts at most `perSecond` handlers a second, plus a burst. A message above the limit is nacked with its own delay.
 * That nack holds the message's key and is no attempt. The message starts when it is redelivered after the delay.
 */
export function rateLimit(options: RateLimitOptions): Middleware {
  const {
    name = 'rate',
    perSecond,
    burst = Math.max(1, perSecond),
    by,
    share,
    clock = systemClock,
  } = checkOptions('rateLimit', options, {
    name: text,
    perSecond: required(number(Number.MIN_VALUE)),
    burst: number(1),
    by: callback,
    share: having('take'),
    clock: clockKind,
  })
  if (share !== undefined) {
    if (options.name === undefined)
      throw badOption('rateLimit', 'name', 'a text that all processes use, with share', undefined)
    requireSameTerms('rateLimit', share, name, { perSecond, burst })
  }
  const make = (group: string | null): Rate | SharedRate => {
    const terms = { name: group === null ? name : `${name.length}:${name}:${group}`, perSecond, burst, clock }
    return share === undefined ? new Rate(terms) : new SharedRate(terms, share)
  }
  const whole = make(null)
  const groups = new Groups(make, () => true)

  const middleware: Middleware = (next) =>
    async function rateLimit(delivery) {
      const { message, origin, pipeline, signal } = delivery
      const isText = (group: unknown): boolean => typeof group === 'string'
      const group =
        by &&
        guarded(
          'rateLimit: by',
          () => by(message),
          isText,
          () => '',
          'a text',
        )
      const rate = group === undefined ? whole : groups.of(group)
      const waitMs = await rate.take(`${pipeline} ${origin.destination} ${message.id}`)
      if (waitMs > 0) {
        if (limitReached.active()) limitReached.publish({ delivery, name, waitMs })
        throw new RetryLater(waitMs, { holds: 'lane', because: `${name}: more than ${perSecond} a second` })
      }
      if (signal.aborted) throw new RetryLater(0, { because: 'stopped before it was started', cause: signal.reason })
      return next(delivery)
    }
  const scope = share === undefined ? 'this process' : `fleet, by ${share.name}; this process alone while it is away`
  return staged(middleware, {
    name: 'rate-limit',
    facts: { limit: `${perSecond} a second${by === undefined ? '' : ' by group'}, ${scope}` },
    notInside: { idempotency: 'each message that has to wait would be a claim' },
  })
}
