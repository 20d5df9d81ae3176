import type { StatementRunner } from '../core/delivery.ts'
import type { Failure } from '../core/errors.ts'
import type { ClaimLane } from '../core/parking.ts'

/**
 * Keeps one record per key: absent → in progress → completed | failed | released.
 *
 * The guarantee: at any instant at most one claim of a key is in progress with an unexpired lease. Every later write names
 * the claim's token, and changes nothing once another claim has taken over. The store's own clock decides when leases and
 * retention end. A caller may send any call again if the answer was lost. A rejected call means that the store is down,
 * and the pipeline waits. Only a `PermanentError` concerns the message: the store cannot keep this key.
 */
export interface IdempotencyStore {
  /** The kind of store: `postgresql`, `redis` or `memory`. */
  readonly name: string
  claim(request: ClaimRequest, options?: CallOptions): Promise<ClaimResult>
  /** Extends the lease to `leaseMs` from now. */
  renew(held: HeldClaim, leaseMs: number, options?: CallOptions): Promise<Held>
  /** Records success. The store keeps the key for `retainMs`. */
  complete(held: HeldClaim, retainMs: number): Promise<Held>
  /** Makes the key claimable again, and keeps the number of attempts so far. */
  release(held: HeldClaim, attempts: number): Promise<Held>
  /** Records a final failure. The store keeps it for `retainMs` and returns it to later claims of the key. */
  fail(held: HeldClaim, failure: Failure, retainMs: number): Promise<Held>
}

export interface CallOptions {
  /** After an abort the caller no longer waits for the answer. A call not yet sent rejects and changes nothing. */
  readonly signal?: AbortSignal
}

/** A store that can complete a claim with a statement in the caller's transaction. */
export interface TransactionalIdempotencyStore extends IdempotencyStore {
  /** `parked`: a parking worker runs the message, and its parked row goes in the same transaction. A row that is gone is `lost`. */
  completeIn(tx: StatementRunner, held: HeldClaim, retainMs: number, parked?: object): Promise<Held>
  /**
   * Claims and completes a new key as the first statement of the caller's transaction. Others see the key only after the
   * commit; a rollback leaves nothing. Resolves to the token. Resolves to `known` if the key has a record or another
   * transaction is writing one: then the caller rolls back. Missing if the store was made without `inside: true`.
   */
  claimIn?(tx: StatementRunner, request: InsideRequest): Promise<bigint | 'known'>
}

export interface InsideRequest {
  readonly scope: string
  readonly key: string
  readonly fingerprint: string | null
  readonly retainMs: number
  /** Longest idle time of the transaction in ms. The server then ends it, as an ordinary claim's lease would end. */
  readonly leaseMs: number
  /** The lane of a pipeline with `parking()`. While it is parked the key counts as `known`. */
  readonly lane?: ClaimLane | undefined
}

export interface ClaimRequest {
  readonly scope: string
  readonly key: string
  /** New for every claim. Unchanged when the same claim is sent again, so the store recognises its own claim. */
  readonly owner: string
  readonly leaseMs: number
  /** A digest of the payload, kept with the record. `null` accepts any payload. A completed key keeps its first one. */
  readonly fingerprint: string | null
  /**
   * The generation of the redrive that brings the message. A generation newer than the one that failed may claim a `failed`
   * key again. The attempts and the fingerprint then start anew. @defaultValue 0, no redrive
   */
  readonly generation?: number
  /**
   * The lane of a pipeline with `parking()`. While that lane is parked, only its holder claims; everybody else is told
   * `parked`, unless the key is completed, failed or in conflict. A store without parking never sees it.
   */
  readonly lane?: ClaimLane | undefined
}

export type ClaimResult =
  /** `attempts` includes this claim. An earlier claim that never ended counts as one attempt. */
  | { readonly state: 'claimed'; readonly token: bigint; readonly attempts: number }
  | { readonly state: 'in-progress'; readonly retryAfterMs: number }
  | { readonly state: 'completed' }
  | { readonly state: 'failed'; readonly failure: Failure }
  /** The key is known with another fingerprint. */
  | { readonly state: 'conflict' }
  /** The key's lane is parked, or the worker that asked has lost the lane. */
  | { readonly state: 'parked' }

export interface HeldClaim {
  readonly scope: string
  readonly key: string
  readonly token: bigint
}

/**
 * `lost`: another claim took over, or this claim was settled in another way. Nothing was changed.
 * A call that is sent again gets the same answer as the first time.
 */
export type Held = 'ok' | 'lost'
