import { staged, type Delivery, type Middleware } from '../core/delivery.ts'
import {
  badOption,
  callback,
  checkArgument,
  checkOptions,
  either,
  objects,
  oneOf,
  required,
  text,
} from '../core/options.ts'
import { stableId } from './ids.ts'

/** What {@link replay} puts on the delivery. */
export interface Replayed {
  /** True if another pipeline, or an earlier run, dealt with this message before: its effects must not happen again. */
  readonly replay: boolean
}

/** The first position of each partition that was not dealt with: `{ 'orders/0': 1204n }`, or its digits, as JSON has them. */
export type Positions = Readonly<Record<string, bigint | string>>

export interface ReplayOptions {
  /**
   * Which messages were dealt with before: those below a position, all, or none. A partition without a position has none.
   * Read positions from where the first pipeline stands after it was stopped, never from the end of the log: what the first
   * pipeline did not reach would be left out by both.
   */
  readonly until: Positions | 'all' | 'none'
}

/**
 * Tells the handler what was dealt with before, as `delivery.replay`. {@link sideEffect} then does nothing, and `caused()`
 * refuses to publish. It is for a second pipeline that builds a read model anew beside the first one.
 * @throws HoldfastError (`bad-option`)
 */
export function replay(options: ReplayOptions): Middleware<Replayed> {
  const { until } = checkOptions('replay', options, { until: required(either(oneOf('all', 'none'), objects)) })
  const ends = until === 'all' || until === 'none' ? until : endsOf(until)
  const middleware: Middleware<Replayed> = (next) =>
    function replay(delivery) {
      return next({ ...delivery, replay: typeof ends === 'string' ? ends === 'all' : isBefore(delivery, ends) })
    }
  return staged(middleware, { name: 'replay', excludes: { replay: 'the inner one would decide alone' } })
}

function endsOf(until: Positions): ReadonlyMap<string, bigint> {
  return new Map(
    Object.entries<unknown>(until).map(([partition, end]) => {
      if (typeof end === 'bigint') return [partition, end]
      if (typeof end === 'string' && /^\d{1,19}$/.test(end)) return [partition, BigInt(end)]
      throw badOption('replay', `until['${partition}']`, 'a bigint, or its digits', end)
    }),
  )
}

function isBefore(
  { origin: { destination, partition, position } }: Delivery,
  ends: ReadonlyMap<string, bigint>,
): boolean {
  const end = ends.get(`${destination}/${partition}`)
  if (end === undefined || position === null || !/^\d{1,19}$/.test(position)) return false
  return BigInt(position) < end
}

/**
 * Runs an effect that cannot be taken back, such as a charge or a mail. In a replay it is left out, and `undefined` is
 * returned. `work` gets a key that is the same over every redelivery, replay and version of the pipeline (`orders` and
 * `orders@v2`). Hand it to the other side as the idempotency key: it refuses repeats, this function does not.
 * @throws what `work` throws
 */
export async function sideEffect<T>(
  delivery: Delivery & Partial<Replayed>,
  name: string,
  work: (key: string) => Promise<T> | T,
): Promise<T | undefined> {
  checkArgument('sideEffect', 'name', name, text)
  checkArgument('sideEffect', 'work', work, callback)
  return delivery.replay === true ? undefined : work(stableId(delivery, 'side effect', name))
}
