import type { Claim, Outcome } from '../core/delivery.ts'
import { HoldfastError, isAbandoned, isHoldfastError, isRetryLater, RetryLater } from '../core/errors.ts'
import type { InsideRequest, TransactionalIdempotencyStore } from './store.ts'

export interface Inside {
  readonly claimIn: NonNullable<TransactionalIdempotencyStore['claimIn']>
  readonly request: InsideRequest
  readonly messageId: string
  readonly signal: AbortSignal
  /** Everything further in, with that claim. */
  readonly run: (claim: Claim) => Promise<Outcome>
  /** The ordinary claim. After a failure it comes late: it counts the attempt and takes the failure, and nothing runs. */
  readonly ordinary: (failed?: { readonly error: unknown }) => Promise<Outcome>
}

/**
 * An optimistic first try: the key is claimed and completed by one row, the first statement of the handler's transaction.
 * Anything in the way, and every failure, goes the ordinary way.
 */
export async function claimInside({ claimIn, request, messageId, signal, run, ordinary }: Inside): Promise<Outcome> {
  // What the transaction asked, and what it was told.
  const found = { asked: false, known: false }
  const claim: Claim = {
    async claimIn(tx) {
      found.asked = true
      const fence = await claimIn(tx, request)
      if (fence !== 'known') return fence
      found.known = true
      throw new RetryLater(0, { holds: 'lane', because: 'the key is known' })
    },
  }
  let outcome: Outcome
  try {
    outcome = await run(claim)
  } catch (error) {
    // Nothing was done: the ordinary claim says what is known.
    if (found.known) return ordinary()
    // A wait writes nothing, unless the message may be parked for it.
    const waits = isRetryLater(error) && (request.lane === undefined || error.holds !== 'message')
    if (waits || isAbandoned(error) || signal.aborted) throw error
    // The handler may have committed its record by itself, with a part of the effects: that is no duplicate.
    if (isHoldfastError(error) && error.code === 'transaction-ended') throw error
    return ordinary({ error })
  }
  if (found.asked || outcome !== 'handled') return outcome
  throw new HoldfastError(
    'bad-order',
    `message ${messageId}: idempotency({ claim: 'inside' }) needs transaction() or inOneTransaction() inside it: nothing claimed '${request.key}'`,
  )
}
