import { hostname } from 'node:os'
import { systemClock, type Clock } from '../../core/clock.ts'
import { staged, type Delivery, type Middleware, type Outcome } from '../../core/delivery.ts'
import { isAbandoned, isRetryLater, RetryLater } from '../../core/errors.ts'
import { emitter } from '../../core/events.ts'
import { guarded } from '../../core/guarded.ts'
import type { HasHealth, Health } from '../../core/health.ts'
import type { Message } from '../../core/message.ts'
import { badOption } from '../../core/options.ts'
import { ChildSignal, whenAborted } from '../../core/signals.ts'
import { Groups } from '../circuit/groups.ts'
import { requireSameTerms } from '../same-terms.ts'
import type { Limits } from '../store.ts'
import { LocalPlaces, type Place, type Places } from './places.ts'
import { SharedPlaces } from './shared-places.ts'

export interface GroupedBulkheadOptions {
  readonly maxConcurrent: number
  readonly name?: string | undefined
  readonly by?: ((message: Message) => string) | undefined
  readonly share?: Limits | undefined
  readonly whileAway?: 'wait' | 'this-process' | undefined
  readonly clock?: Clock | undefined
}

const limitReached = emitter('limit-reached')

/** Places for each group: a message above the limit of its group is nacked with a time of its own. */
export function bulkheadByGroup(options: GroupedBulkheadOptions): Middleware & HasHealth {
  const { maxConcurrent, name = 'bulkhead', by, share, whileAway = 'wait', clock = systemClock } = options
  const shared = share === undefined ? undefined : leasing(share)
  if (shared !== undefined) requireSameTerms('bulkhead', share ?? shared, name, { maxConcurrent })
  const owner = `${hostname()}:${process.pid}:${crypto.randomUUID().slice(0, 8)}`

  function make(group: string): Places {
    const terms = {
      name: by === undefined ? name : `${name.length}:${name}:${group}`,
      max: maxConcurrent,
      clock,
    }
    return shared === undefined
      ? new LocalPlaces(terms)
      : new SharedPlaces({ ...terms, owner, limits: shared, alone: whileAway === 'this-process' })
  }
  const groups = new Groups<Places>(make, ({ isIdle }) => isIdle)
  const groupOf = (message: Message): string =>
    by === undefined
      ? ''
      : guarded(
          'bulkhead: by',
          () => by(message),
          (group) => typeof group === 'string',
          () => '',
          'a text',
        )

  const middleware: Middleware = (next) =>
    async function bulkhead(delivery) {
      const { message, origin, pipeline, signal } = delivery
      const group = groupOf(message)
      const entry = await groups.of(group).enter(`${pipeline} ${origin.destination} ${message.id}`)
      if ('waitMs' in entry) throw above(delivery, group, entry.waitMs)
      const { place } = entry
      if (signal.aborted) {
        place.leave()
        throw new RetryLater(0, { because: 'stopped before it was started', cause: signal.reason })
      }
      return runIn(place, delivery, next)
    }

  function above(delivery: Delivery, group: string, waitMs: number): RetryLater {
    if (limitReached.active()) limitReached.publish({ delivery, name, waitMs, group })
    const of = by === undefined ? '' : ` of '${group}'`
    return new RetryLater(waitMs, { holds: 'lane', because: `${name}: ${maxConcurrent}${of} run already` })
  }

  function health(): Health {
    const all = [...groups.values()]
    const sum = (of: (places: Places) => number): number => all.reduce((total, places) => total + of(places), 0)
    const away = all.some((places) => places instanceof SharedPlaces && !places.online)
    const details = {
      ...{ maxConcurrent, running: sum(({ held }) => held), waiting: sum(({ waiting }) => waiting) },
      ...(by !== undefined && { groups: all.filter(({ isIdle }) => !isIdle).length }),
      ...(shared !== undefined && { granted: sum(({ granted }) => granted), share: away ? 'away' : 'online' }),
    }
    return { name: `limit ${name}`, live: true, ready: true, details }
  }

  const scope = shared === undefined ? 'this process' : `fleet, by ${shared.name}`
  const backlog = by === undefined ? '' : "; the backlog of one group can still fill a partition's window (ahead)"
  const stage = staged(middleware, {
    name: 'bulkhead',
    facts: { limit: `${maxConcurrent} at once${by === undefined ? '' : ' by group'}, ${scope}${backlog}` },
    notInside: { idempotency: 'each message that has to wait would be a claim' },
  })
  return Object.assign(stage, { health })
}

/** Runs everything further in while the place is held, and lets it go when that has really ended. */
function runIn<D extends Delivery>(
  place: Place,
  delivery: D,
  next: (delivery: D) => Promise<Outcome>,
): Promise<Outcome> {
  const { lost } = place
  const own = lost === undefined ? undefined : new ChildSignal(delivery.signal)
  const forget = lost === undefined ? undefined : whenAborted(lost, (reason) => own?.abort(reason))
  const end = (): void => {
    forget?.()
    own?.end()
    place.leave()
  }
  const inner = own === undefined ? delivery : { ...delivery, signal: own.signal }
  return next(inner).then(
    (outcome) => {
      end()
      return outcome
    },
    (error: unknown) => {
      if (isAbandoned(error)) void error.settled.then(end, end)
      else end()
      if (lost?.aborted !== true || isRetryLater(error) || isAbandoned(error)) throw error
      throw new RetryLater(0, { holds: 'lane', because: 'its place was lost while it ran', cause: error })
    },
  )
}

/** A store that hands out places. */
function leasing(limits: Limits): Limits & Required<Pick<Limits, 'hold' | 'leaseMs'>> {
  const { name, take, hold, leaseMs } = limits
  if (hold === undefined || leaseMs === undefined)
    throw badOption('bulkhead', 'share', 'a store that hands out places, with hold() and leaseMs', limits)
  return { name, take, hold, leaseMs }
}
