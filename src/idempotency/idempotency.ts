import { systemClock, type Clock } from '../core/clock.ts'
import {
  staged,
  type Claim,
  type Claimed,
  type Delivery,
  type Middleware,
  type Outcome,
  type Place,
  type Stage,
  type Step,
} from '../core/delivery.ts'
import {
  attemptsBefore,
  failureFrom,
  isAbandoned,
  isHoldfastError,
  isPermanent,
  isRetryLater,
  noteClaim,
  RetryLater,
} from '../core/errors.ts'
import { whoseFault } from '../core/fault.ts'
import type { ClaimLane } from '../core/parking.ts'
import { generationOf } from '../core/redrive.ts'
import {
  badOption,
  callback,
  checkOptions,
  clockKind,
  either,
  flag,
  having,
  ms,
  oneOf,
  required,
  text,
} from '../core/options.ts'
import { untilAborted } from '../core/signals.ts'
import { storedKeyOf, storedScope } from './claim-name.ts'
import { fingerprinter } from './fingerprint.ts'
import { claimInside } from './inside.ts'
import { keyFromDigest, keyFromId, type KeyOf } from './key.ts'
import { recognise } from './known.ts'
import { Lease, leaseLost, leases, storeDown, storeFailed } from './lease.ts'
import type { ClaimRequest, ClaimResult, Held, IdempotencyStore, TransactionalIdempotencyStore } from './store.ts'

export interface IdempotencyOptions<Body = unknown> {
  readonly store: IdempotencyStore
  /** The idempotency key: deliveries with the same key are the same work. @defaultValue the message id */
  readonly key?: KeyOf<Body>
  /** The namespace of the keys. Equal keys of different scopes are different. Take a tenant from a trusted source, never from a header. @defaultValue the pipeline's name */
  readonly scope?: string | ((delivery: Delivery<Body>) => string)
  /** Refuses a known key that arrives with other content. `true` digests the undecoded bytes. A body that was never bytes needs a function. @defaultValue `false` */
  readonly fingerprint?: boolean | ((delivery: Delivery<Body>) => string | Uint8Array)
  /** Length of a claim's lease in ms. It is renewed every `leaseMs / 3`. @defaultValue 30_000 */
  readonly leaseMs?: number
  /** How long a settled key is kept, in ms. @defaultValue 7 days */
  readonly retainMs?: number
  /** What to do when the claim's store call fails: hold the pipeline, or handle without protection. @defaultValue `'pause'` */
  readonly onStoreError?: 'pause' | 'fail-open'
  /** `'observe'` counts duplicates and suppresses none: to try it on live traffic. @defaultValue `'enforce'` */
  readonly mode?: 'enforce' | 'observe'
  /**
   * Where a first delivery is claimed. `'outside'`: before the handler. `'inside'`: in the handler's transaction, which saves
   * two flushes. Deliveries that the transport does not mark as first are claimed before the handler. @defaultValue `'outside'`
   */
  readonly claim?: 'outside' | 'inside'
  readonly clock?: Clock
}

// Further than any store can count from now.
const longestRetainMs = 1000 * 365 * 86_400_000
const otherDatabaseWaitMs = 500
// Handled without a claim: lower than any token of a store.
const unclaimed: Claimed = { fence: 0n, claim: {} }

/**
 * Runs one handler per key at a time. After a success the key's handler does not run again for `retainMs`.
 * One claim lasts for the whole delivery, all its attempts included.
 */
export function idempotency<Body = unknown>(options: IdempotencyOptions<Body>): Middleware<Claimed, Delivery<Body>> {
  const {
    store,
    key: keyOf = keyFromId,
    scope = (delivery: Delivery<Body>) => delivery.pipeline,
    fingerprint = false,
    leaseMs = 30_000,
    retainMs = 7 * 86_400_000,
    onStoreError = 'pause',
    mode = 'enforce',
    claim: place = 'outside',
    clock = systemClock,
  } = checkOptions('idempotency', options, {
    store: required(having('claim', 'renew', 'complete', 'release', 'fail')),
    key: callback,
    scope: either(text, callback),
    fingerprint: either(flag, callback),
    leaseMs: ms(3),
    retainMs: ms(3),
    onStoreError: oneOf('pause', 'fail-open'),
    mode: oneOf('enforce', 'observe'),
    claim: oneOf('outside', 'inside'),
    clock: clockKind,
  })
  if (retainMs > longestRetainMs)
    throw badOption('idempotency', 'retainMs', `at most ${longestRetainMs} (1000 years)`, retainMs)
  if (retainMs < leaseMs) throw badOption('idempotency', 'retainMs', `at least leaseMs (${leaseMs})`, retainMs)

  const observing = mode === 'observe'
  const failsOpen = observing || onStoreError === 'fail-open'
  const running = leases(store, leaseMs, clock)
  const transactional = canCompleteInTransaction(store) ? store : undefined
  const claimIn = place === 'inside' ? transactional?.claimIn?.bind(transactional) : undefined
  if (place === 'inside' && claimIn === undefined)
    throw badOption('idempotency', 'claim', "'outside' for a store that was not made with { inside: true }", place)
  if (place === 'inside' && mode === 'observe')
    throw badOption('idempotency', 'claim', "'outside' in mode 'observe'", place)
  const ownerPrefix = `${crypto.randomUUID()}-`
  let claims = 0

  function claimOf(lease: Lease): Claim {
    const ensureHeld = (): void => {
      if (!observing) running.ensureHeld(lease)
    }
    if (transactional === undefined) return { ensureHeld }
    return {
      ensureHeld,
      async completeIn(tx) {
        const { parked } = lease.delivery
        const answer = await transactional.completeIn(tx, lease.held, retainMs, parked)
        if (answer === 'ok') lease.completedInTransaction = true
        // Parked: its row is gone, and this transaction has locked the claim's row. To ask would be to wait for oneself.
        else if (parked || (await store.renew(lease.held, leaseMs)) === 'lost') throw leaseLost(lease.held)
        else throw otherDatabase()
      },
    }
  }

  /** Records the success, for as long as the lease lasts. What cannot be recorded is not acked. */
  async function complete(lease: Lease): Promise<Held> {
    const send = () => store.complete(lease.held, retainMs)
    try {
      return await running.answered(lease, 'complete', send())
    } catch (error) {
      return running.sendAgain(lease, 'complete', error, send).catch((down: unknown) => {
        if (failsOpen) return 'ok'
        throw down
      })
    }
  }

  /** Settles the claim of a delivery that did not succeed, and says so by throwing. */
  async function giveBack(lease: Lease, thrown: unknown, final: boolean): Promise<Outcome> {
    const { delivery } = lease
    // Its handler still runs: the lease lapses by itself, and the fence keeps it out.
    if (isAbandoned(thrown)) throw thrown
    if (lease.lost && !observing && !isRetryLater(thrown)) throw leaseLost(lease.held)
    const told = await delivery.parking?.park({ lease, thrown, final, retainMs })
    if (told === 'parked') return told
    const error = told ?? thrown
    const deferred = isRetryLater(error) || (delivery.signal.aborted && !isPermanent(error))
    const counts = !deferred || (isRetryLater(error) && error.counts)
    const attempts = attemptsBefore(error, delivery.message.id) ?? (counts ? lease.attempts : lease.attempts - 1)
    if (deferred || !final || observing) {
      // Best effort: what is not released lapses with its lease.
      await running.answered(lease, 'release', store.release(lease.held, attempts)).catch(releaseFailed)
      throw error
    }
    noteClaim(error, delivery.message.id, lease.held.scope, lease.held.key)
    const failure = failureFrom(error, delivery.message.id, attempts)
    const send = () => running.answered(lease, 'fail', store.fail(lease.held, failure, retainMs))
    const answer = await send().catch((cause: unknown) =>
      // A key that the store refuses keeps no failure either: the dead letter does.
      cause === error ? 'ok' : running.sendAgain(lease, 'fail', cause, send),
    )
    if (answer === 'lost') throw leaseLost(lease.held)
    throw error
  }

  /** Nobody waited for this claim any more: it need not last as long as its lease. */
  function releaseLate(scope: string, key: string, answer: ClaimResult): void {
    if (answer.state !== 'claimed') return
    store.release({ scope, key, token: answer.token }, answer.attempts - 1).catch(releaseFailed)
  }

  function reportFailure(operation: string, error: unknown): void {
    if (storeFailed.active()) storeFailed.publish({ store: store.name, operation, error })
  }

  const releaseFailed = (error: unknown): void => reportFailure('release', error)

  const middleware: Middleware<Claimed, Delivery<Body>> = <D extends Delivery<Body>>(
    next: Step<D & Claimed>,
    standing?: Place,
  ): Step<D> => {
    const decoded = standing?.outside.some((stage) => stage.name === 'decode') ?? false
    const fingerprintOf = fingerprinter(fingerprint, decoded)
    const final = standing?.outside.some((stage) => stage.name === 'dead-letter') ?? false
    // What a batch's handler does with its claims shows at the first batch only.
    const mayClaim = ({ name, facts }: Stage): boolean => name === 'batch' || facts?.database !== undefined
    if (claimIn !== undefined && standing?.inside.some(mayClaim) === false)
      throw badOption('idempotency', 'claim', "'outside' without transaction() inside", place)

    return async function idempotency(delivery) {
      refuseAborted(delivery)
      const inScope = storedScope(delivery, scope)
      const key = storedKeyOf(delivery, keyOf(delivery))
      // Outside the try: an error of the user's own function is the message's, not an outage of the store.
      const print = fingerprintOf(delivery)
      const generation = generationOf(delivery.message.headers)
      const request = { scope: inScope, key, leaseMs, fingerprint: print, generation }
      const { first = false, attempt, signal, message } = delivery
      if (claimIn === undefined || !first || attempt > 1 || generation > 0) return ordinary(delivery, request)
      return claimInside({
        claimIn,
        request: { ...request, retainMs, lane: delivery.parking?.lane },
        messageId: message.id,
        signal,
        run: (claim) => next({ ...delivery, fence: 0n, claim }),
        ordinary: (failed) => ordinary(delivery, request, failed),
      })
    }

    async function ordinary(
      delivery: D,
      request: Omit<ClaimRequest, 'owner'>,
      failed?: { readonly error: unknown },
    ): Promise<Outcome> {
      const { scope: inScope, key } = request
      const owner = ownerPrefix + (claims++).toString(36)
      const sentMs = clock.now()
      let answer: ClaimResult
      try {
        const { signal } = delivery
        const ask = (lane?: ClaimLane) => store.claim({ ...request, owner, lane }, { signal })
        const asked = delivery.parking?.claim(request, ask) ?? ask()
        answer = await untilAborted(signal, asked).catch((error: unknown) => {
          if (signal.aborted) asked.then((late) => releaseLate(inScope, key, late), noLateAnswer)
          throw error
        })
      } catch (cause) {
        if (delivery.signal.aborted) throw aborted(delivery)
        // Its lane is full, or lost: no fault of the store.
        if (isRetryLater(cause)) throw cause
        reportFailure('claim', cause)
        // Not an outage: the store cannot keep this one key.
        if (whoseFault(cause, 'infrastructure') === 'message') throw cause
        if (failsOpen && !isBadSetup(cause) && failed === undefined) return next({ ...delivery, ...unclaimed })
        throw storeDown(store, 'claim', cause)
      }
      if (answer.state === 'claimed') {
        const lease = new Lease({ scope: inScope, key, token: answer.token }, answer.attempts, delivery, sentMs)
        // The answer may have taken longer than the lease, or the delivery ended meanwhile.
        if (delivery.signal.aborted) return giveBack(lease, aborted(delivery), final)
        if (clock.now() - sentMs >= leaseMs) {
          running.end(lease)
          return giveBack(lease, leaseLost(lease.held), final)
        }
        running.begin(lease)
        const signal = observing ? delivery.signal : lease.signal
        const { attempts: attempt, token: fence } = answer
        try {
          if (failed !== undefined) throw failed.error
          const outcome = await next({ ...delivery, attempt, signal, fence, claim: claimOf(lease) })
          if (outcome === 'handled' && lease.completedInTransaction) return outcome
          const held = await complete(lease)
          // Acks only what is recorded. Once the store says `lost`, the next claim decides.
          if (held === 'lost' && !lease.completedInTransaction && !observing) throw leaseLost(lease.held)
          return outcome
        } catch (error) {
          return await giveBack(lease, error, final)
        } finally {
          running.end(lease)
        }
      }
      const known = recognise(delivery, key, answer, !observing)
      if (observing) return next({ ...delivery, ...unclaimed })
      if (typeof known === 'string') return known
      noteClaim(known, delivery.message.id, inScope, key)
      throw known
    }
  }

  return staged(middleware, {
    name: 'idempotency',
    keeper: failsOpen || store,
    facts: {
      store: store.name,
      completesInTransaction: transactional !== undefined,
      ...(claimIn !== undefined && { claim: 'inside' }),
      leaseMs,
      retainMs,
      keys: keyOf === keyFromId ? 'message id' : keyOf === keyFromDigest ? 'digest of the bytes' : 'a function',
    },
    notInside: {
      retry: 'each attempt would claim again, and lose the count and the final failure',
      'circuit-breaker': 'a claim held elsewhere is no failure of the dependency',
      timeout: 'the deadline is for one attempt, the claim is for all of them',
      transaction: 'the claim must be visible to others before the work begins',
    },
    wantsOutside: { 'dead-letter': 'a failure is recorded only where a dead letter takes it' },
    excludes: { idempotency: 'the inner claim would find the outer one' },
  })
}

function canCompleteInTransaction(store: IdempotencyStore): store is TransactionalIdempotencyStore {
  return 'completeIn' in store && typeof store.completeIn === 'function'
}

const noLateAnswer = (): void => undefined

function refuseAborted(delivery: Delivery): void {
  if (delivery.signal.aborted) throw aborted(delivery)
}

function aborted(delivery: Delivery): RetryLater {
  return new RetryLater(0, { because: 'stopped before it was handled', cause: delivery.signal.reason })
}

function isBadSetup(error: unknown): boolean {
  return isHoldfastError(error) && (error.code === 'bad-schema' || error.code === 'bad-option')
}

function otherDatabase(): RetryLater {
  return new RetryLater(otherDatabaseWaitMs, {
    holds: 'pipeline',
    because: 'the transaction is on another database than the idempotency store: give both the same one',
  })
}
