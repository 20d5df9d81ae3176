import { staged, type Delivery, type Middleware, type StatementRunner, type Transactional } from '../core/delivery.ts'
import { emitter } from '../core/events.ts'
import { headerText, outboxIdHeader } from '../core/message.ts'
import { callback, checkOptions, having, required } from '../core/options.ts'
import { untilAborted } from '../core/signals.ts'
import { storedKey } from '../core/stored-key.ts'
import type { Age, Mark, SequenceStore, TransactionalSequenceStore } from './store.ts'

export interface SequenceOptions<Tx> {
  readonly store: SequenceStore | TransactionalSequenceStore
  /**
   * Returns how to run a statement in `tx`. Needed only for a transaction middleware of your own.
   * @defaultValue the transaction's own `query`
   */
  readonly runnerOf?: (tx: Tx) => StatementRunner
}

const stale = emitter('stale-seen')

/**
 * Acks an outbox message as `'stale'`, without handling it, if a later message of its key was handled before. A paused
 * relay can send such late repeats. Inside `transaction()` the mark commits with the handler's effects, if the store is in
 * the same database. Messages without a key or without an `outbox-id` pass.
 */
export function sequence<Tx = unknown>(
  options: SequenceOptions<Tx>,
): Middleware<unknown, Delivery & Partial<Transactional<Tx>>> {
  const { store, runnerOf } = checkOptions('sequence', options, {
    store: required(having('look', 'advance')),
    runnerOf: callback,
  })
  const middleware: Middleware<unknown, Delivery & Partial<Transactional<Tx>>> = (next) =>
    async function sequence(delivery) {
      const mark = markOf(delivery)
      if (mark === null) return next(delivery)
      const { tx, runner, signal } = delivery
      const inside = tx !== undefined && 'advanceIn' in store
      // In a transaction the mark moves first: the lock on it makes the messages of a key wait for each other.
      const age = inside
        ? await store.advanceIn(runnerOf?.(tx) ?? runner ?? ownRunner(tx), mark)
        : await untilAborted(signal, store.look(mark, { signal }))
      if (age !== 'newer') return seen(delivery, age)
      const outcome = await next(delivery)
      if (!inside) await untilAborted(signal, store.advance(mark, { signal }))
      return outcome
    }
  return staged(middleware, {
    name: 'sequence',
    wantsOutside: {
      idempotency: 'a repeat is a duplicate before it is stale',
      retry: 'a failed attempt must not move the mark',
    },
    excludes: { sequence: 'the second would take the first one’s mark for its own' },
  })
}

function seen(delivery: Delivery, age: Exclude<Age, 'newer'>): 'duplicate' | 'stale' {
  if (age === 'same') return 'duplicate'
  if (stale.active()) stale.publish({ delivery })
  return 'stale'
}

/** The position, or `null` where there is none to compare. */
function markOf({ message, pipeline: scope, origin: { destination } }: Delivery): Mark | null {
  const { key, headers } = message
  const found = /^([^/]+)\/(\d+)\/(\d+)$/.exec(headerText(headers, outboxIdHeader) ?? '')
  if (key === null || found === null) return null
  const [, source = '', timeline = '', id = ''] = found
  // What does not fit a bigint was not written by an outbox.
  if (timeline.length > 18 || id.length > 18) return null
  return { scope, destination, source, key: storedKey(key), timeline: BigInt(timeline), id: BigInt(id) }
}

function ownRunner(tx: unknown): StatementRunner {
  if (canQuery(tx)) return tx
  throw new TypeError('sequence: the transaction has no query(): give the option runnerOf')
}

function canQuery(tx: unknown): tx is StatementRunner {
  return typeof tx === 'object' && tx !== null && 'query' in tx && typeof tx.query === 'function'
}
