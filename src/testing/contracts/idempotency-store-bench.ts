import assert from 'node:assert/strict'
import type { Failure } from '../../core/errors.ts'
import type { ClaimRequest, ClaimResult, HeldClaim, IdempotencyStore } from '../../idempotency/store.ts'

/** One store to be tested, empty. */
export interface IdempotencyStoreHarness {
  readonly store: IdempotencyStore
  /** Lets that much time pass for the store: a fake clock moves, a real server is waited for. */
  readonly advance: (ms: number) => Promise<void>
  readonly dispose?: () => Promise<void>
}

export type IdempotencyStoreCases = Readonly<Record<string, (harness: IdempotencyStoreHarness) => Promise<void>>>

export const longMs = 60_000
export const shortMs = 60
// Real servers and timers are not exact.
export const pastShortMs = 120

export const failure: Failure = {
  reason: 'attempts',
  errorName: 'TypeError',
  errorMessage: 'no "such" thing: ü 🧵',
  attempts: 4,
}

let owners = 0
/** A claim by an owner of its own. */
export function ask(key: string, more: Partial<ClaimRequest> = {}): ClaimRequest {
  return { scope: 'contract', key, owner: `owner-${owners++}`, leaseMs: longMs, fingerprint: null, ...more }
}

/** A claim that has to be granted. */
export async function hold(
  store: IdempotencyStore,
  request: ClaimRequest,
): Promise<HeldClaim & { readonly attempts: number }> {
  const answer = await store.claim(request)
  assert.equal(answer.state, 'claimed', `the claim of '${request.key}'`)
  return { scope: request.scope, key: request.key, token: answer.token, attempts: answer.attempts }
}

export const stateOf = (answer: ClaimResult): string => answer.state
