import { sleep, type Clock } from '../core/clock.ts'
import type { Delivery } from '../core/delivery.ts'
import { RetryLater } from '../core/errors.ts'
import { emitter, type Emitter } from '../core/events.ts'
import { whoseFault } from '../core/fault.ts'
import { whenAborted } from '../core/signals.ts'
import { timeline, TimedSignal } from '../core/timeline.ts'
import type { Held, HeldClaim, IdempotencyStore } from './store.ts'

/** A claim in progress, and the signal that aborts when it is lost. */
export class Lease extends TimedSignal {
  readonly held: HeldClaim
  readonly attempts: number
  readonly delivery: Delivery
  /** From before the last request whose answer was good was sent: the store's lease ends no earlier than this one. */
  goodMs: number
  over = false
  lost = false
  completedInTransaction = false

  constructor(held: HeldClaim, attempts: number, delivery: Delivery, goodMs: number) {
    super(delivery.signal)
    this.held = held
    this.attempts = attempts
    this.delivery = delivery
    this.goodMs = goodMs
  }
}

export interface Leases {
  /** Renews it at every third of its length until it ends, is lost, or its delivery is aborted. */
  begin(lease: Lease): void
  end(lease: Lease): void
  /** Throws if the lease is over by the clock, although its timer did not come yet. */
  ensureHeld(lease: Lease): void
  /** The answer to what settles the claim: waited for while the lease lasts, and a moment longer than the delivery. */
  answered(lease: Lease, operation: string, answer: Promise<Held>): Promise<Held>
  /** After `error`: sends what settles a claim again, while the store is down and the lease lasts. */
  sendAgain(lease: Lease, operation: string, error: unknown, send: () => Promise<Held>): Promise<Held>
}

const renewed = emitter('lease-renewed')
const lost = emitter('lease-lost')
export const storeFailed: Emitter<'store-failed'> = emitter('store-failed')

const firstWaitMs = 25
const longestWaitMs = 1000
const graceMs = 1000
// Two ways to add up the same ms may differ in the last digit.
const roundingMs = 0.001

/** Looks after every running claim of one `idempotency()`, behind one timer. */
export function leases(store: IdempotencyStore, leaseMs: number, clock: Clock): Leases {
  const running = timeline<Lease>(clock, leaseMs / 3, due)

  function due(lease: Lease): void {
    const nowMs = clock.now()
    if (isOver(lease, nowMs)) return lose(lease)
    // Looked at again in a third of the lease, and at its very end where that comes first.
    running.add(lease, Math.min(nowMs, lease.goodMs + (leaseMs * 2) / 3))
    // An aborted delivery is on its way out: a handler that is deaf to that must not keep its key for ever.
    if (!lease.delivery.signal.aborted) void renew(lease, nowMs)
  }

  function isOver({ goodMs }: Lease, nowMs: number): boolean {
    return nowMs - goodMs >= leaseMs - roundingMs
  }

  async function renew(lease: Lease, sentMs: number): Promise<void> {
    try {
      const answer = await store.renew(lease.held, leaseMs, { signal: lease.signal })
      if (lease.over) return
      if (answer === 'lost') return lose(lease)
      lease.goodMs = Math.max(lease.goodMs, sentMs)
      if (renewed.active()) renewed.publish({ delivery: lease.delivery })
    } catch (error) {
      // No answer is not yet a loss: the local deadline decides.
      if (!lease.over && storeFailed.active()) storeFailed.publish({ store: store.name, operation: 'renew', error })
    }
  }

  function lose(lease: Lease): void {
    if (lease.over || lease.lost) return
    lease.lost = true
    running.remove(lease)
    if (lost.active()) lost.publish({ delivery: lease.delivery })
    lease.abort(leaseLost(lease.held))
  }

  function answered(lease: Lease, operation: string, answer: Promise<Held>): Promise<Held> {
    return new Promise((resolve, reject) => {
      let cancel = (): void => undefined
      const noAnswer = (): void =>
        reject(lease.lost ? leaseLost(lease.held) : storeDown(store, operation, lease.signal.reason))
      function ended(): void {
        if (lease.lost) return noAnswer()
        // The delivery is to end, and the store answers in a moment if it answers at all.
        cancel = clock.after(graceMs, noAnswer, true)
      }
      const forget = whenAborted(lease.signal, ended)
      // Nobody renews it, so nobody would notice its end.
      if (lease.over || lease.signal.aborted) ended()
      answer
        .finally(() => {
          forget()
          cancel()
        })
        .then(resolve, reject)
    })
  }

  return {
    answered,
    begin: (lease) => running.add(lease, lease.goodMs),
    end(lease) {
      lease.over = true
      running.remove(lease)
      lease.end()
    },
    ensureHeld(lease) {
      if (!isOver(lease, clock.now())) return
      lose(lease)
      throw leaseLost(lease.held)
    },
    async sendAgain(lease, operation, error, send) {
      let cause = error
      // What this one key did to itself does not end by waiting.
      if (whoseFault(error, 'infrastructure') === 'message') throw error
      for (let waitMs = firstWaitMs; ; waitMs = Math.min(waitMs * 2, longestWaitMs)) {
        if (storeFailed.active()) storeFailed.publish({ store: store.name, operation, error: cause })
        const leftMs = lease.goodMs + leaseMs - clock.now()
        if (lease.lost || leftMs <= waitMs || lease.delivery.signal.aborted) throw storeDown(store, operation, cause)
        await sleep(clock, waitMs)
        try {
          return await answered(lease, operation, send())
        } catch (latest) {
          cause = latest
        }
      }
    },
  }
}

/** The next claim says how it stands: done elsewhere, or free again. */
export function leaseLost({ key }: HeldClaim): RetryLater {
  return new RetryLater(0, { holds: 'lane', because: `the lease on '${key}' was lost` })
}

export function storeDown(store: IdempotencyStore, operation: string, cause: unknown): RetryLater {
  return new RetryLater(longestWaitMs, {
    holds: 'pipeline',
    because: `the ${store.name} idempotency store did not answer (${operation})`,
    cause,
  })
}
