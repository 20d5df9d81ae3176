import type { StatementRunner } from '../../core/delivery.ts'
import type { Held, HeldClaim, IdempotencyStore } from '../store.ts'

/**
 * A store of claims that keeps a few bytes with each: what the handler returned. The bytes live as long as the key. A later
 * claim of the key does not see them.
 */
export interface ResultStore extends IdempotencyStore {
  /**
   * Keeps the bytes with a claim that is in progress, or that was completed with this token. A second call replaces the
   * first. `lost`: another claim took over; nothing was changed.
   */
  keepResult(held: HeldClaim, result: Uint8Array): Promise<Held>
  /** The same as a statement in the caller's transaction. Missing if the store has no transactions. */
  keepResultIn?(tx: StatementRunner, held: HeldClaim, result: Uint8Array): Promise<Held>
  /** The bytes of a completed key. `null`: none were kept, or the key is not known as completed. */
  resultOf(scope: string, key: string): Promise<Uint8Array | null>
}
