import type { Delivery } from '../core/delivery.ts'
import { FailedBeforeError, HoldfastError, RetryLater } from '../core/errors.ts'
import { emitter } from '../core/events.ts'
import type { ClaimResult } from './store.ts'

const duplicateSeen = emitter('duplicate-seen')
const conflictSeen = emitter('conflict-seen')

// A claim may be released long before its lease ends: ask again sooner.
const longestWaitMs = 500

/** What it means that the key is known. */
export function recognise(
  delivery: Delivery,
  key: string,
  answer: Exclude<ClaimResult, { state: 'claimed' }>,
  suppressed: boolean,
): 'duplicate' | 'parked' | Error {
  if (answer.state === 'parked') return 'parked'
  const id = delivery.message.id
  if (answer.state === 'in-progress') {
    const because = `'${key}' is in progress elsewhere`
    return new RetryLater(Math.min(answer.retryAfterMs, longestWaitMs), { holds: 'lane', because })
  }
  if (answer.state === 'conflict') {
    if (conflictSeen.active()) conflictSeen.publish({ delivery })
    return new HoldfastError('key-conflict', `message ${id}: the key '${key}' is known with another content`)
  }
  if (duplicateSeen.active()) duplicateSeen.publish({ delivery, suppressed })
  if (answer.state === 'completed') return 'duplicate'
  const { errorName, errorMessage } = answer.failure
  return new FailedBeforeError(`message ${id} failed for good before: ${errorName}: ${errorMessage}`, answer.failure)
}
