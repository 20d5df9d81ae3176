import { noteClaim } from '../core/errors.ts'
import type { NotHandled } from '../core/parking.ts'
import { untilAborted } from '../core/signals.ts'
import { leaseLost, storeDown, storeFailed, type Lease } from './lease.ts'
import type { IdempotencyStore } from './store.ts'

/**
 * Asks the `parking()` stage around, if there is one, what becomes of a delivery that did not succeed.
 * `undefined`: nothing is parked. `failed`: its claim is settled already. An object holds the final error to go on with.
 */
export async function parkInstead(
  store: IdempotencyStore,
  { delivery, lost, held, signal }: Lease,
  given: Omit<NotHandled, 'held'>,
): Promise<'parked' | 'failed' | { readonly error: unknown } | undefined> {
  if (delivery.parking === undefined || lost || delivery.signal.aborted) return undefined
  const asked = delivery.parking.park({ ...given, held })
  const answer = await untilAborted(signal, asked).catch((error: unknown) => {
    if (storeFailed.active()) storeFailed.publish({ store: store.name, operation: 'park', error })
    throw storeDown(store, 'park', error)
  })
  if (answer === 'lost') throw leaseLost(held)
  if (answer === 'failed') noteClaim(given.error, delivery.message.id, held.scope, held.key)
  return answer
}
