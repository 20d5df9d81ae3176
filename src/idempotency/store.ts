import type { StatementRunner } from '../core/delivery.ts'
import type { Failure } from '../core/errors.ts'

/**
 * Keeps one record for each key: absent → in progress → completed | failed | released.
 *
 * The guarantee: at any instant at most one claim of a key is in progress with an unexpired lease; every other write
 * names the claim's token and changes nothing once another claim has taken over. Leases and retention are judged by
 * the store's own clock. Every call may be sent again when its answer was lost. A call that rejects says nothing about
 * the message: the store is down, and the pipeline waits. Only a `PermanentError` says that this one key cannot be kept.
 */
export interface IdempotencyStore {
  /** Which kind of store it is: `postgresql`, `redis`, `memory`. */
  readonly name: string
  claim(request: ClaimRequest, options?: CallOptions): Promise<ClaimResult>
  /** Moves the end of the lease to `leaseMs` from now. */
  renew(held: HeldClaim, leaseMs: number, options?: CallOptions): Promise<Held>
  /** Success: remembered for `retainMs`. */
  complete(held: HeldClaim, retainMs: number): Promise<Held>
  /** Back to claimable, with the number of attempts so far. */
  release(held: HeldClaim, attempts: number): Promise<Held>
  /** Final failure: remembered for `retainMs`, and given to whoever claims the key again. */
  fail(held: HeldClaim, failure: Failure, retainMs: number): Promise<Held>
}

export interface CallOptions {
  /** A call that was not sent when it aborts rejects and changes nothing. Nobody waits for the answer any more. */
  readonly signal?: AbortSignal
}

/** A store that can complete a claim as one more statement of the caller's own transaction. */
export interface TransactionalIdempotencyStore extends IdempotencyStore {
  completeIn(tx: StatementRunner, held: HeldClaim, retainMs: number): Promise<Held>
  /**
   * Claims and completes a new key as the first statement of the caller's transaction: nobody else sees it before that
   * commits, and nothing of it is left if it does not. Resolves to the token, or to `known` where there is a record of the
   * key or somebody is writing one: then the caller rolls back. Missing where the store was not made for it.
   */
  claimIn?(tx: StatementRunner, request: InsideRequest): Promise<bigint | 'known'>
}

export interface InsideRequest {
  readonly scope: string
  readonly key: string
  readonly fingerprint: string | null
  readonly retainMs: number
  /** How long the transaction may be silent before the server ends it: what a lease is to an ordinary claim. */
  readonly leaseMs: number
}

export interface ClaimRequest {
  readonly scope: string
  readonly key: string
  /** Fresh for every claim, kept when the same claim is sent again: so a lost answer is not taken for a rival. */
  readonly owner: string
  readonly leaseMs: number
  /** A digest of the payload, or `null` to accept any. Kept with the record; a completed key keeps its own. */
  readonly fingerprint: string | null
  /**
   * Which redrive brings the message. A `failed` key is claimed again by a newer generation than it failed with; the count
   * of attempts and the fingerprint start anew then. @defaultValue 0, no redrive
   */
  readonly generation?: number
}

export type ClaimResult =
  /** `attempts` counts this claim: a claim that never ended counts as one. */
  | { readonly state: 'claimed'; readonly token: bigint; readonly attempts: number }
  | { readonly state: 'in-progress'; readonly retryAfterMs: number }
  | { readonly state: 'completed' }
  | { readonly state: 'failed'; readonly failure: Failure }
  /** The key is known with another fingerprint. */
  | { readonly state: 'conflict' }

export interface HeldClaim {
  readonly scope: string
  readonly key: string
  readonly token: bigint
}

/**
 * `lost`: another claim has taken over, or this one is settled in another way; nothing was changed.
 * A call that is sent again is answered as it was the first time.
 */
export type Held = 'ok' | 'lost'
