import type { ClaimRequest, HeldClaim, IdempotencyStore } from '../../src/idempotency/store.ts'

export const day = 86_400_000

let owners = 0
/** A claim of its own owner. */
export const ask = (key: string, more: Partial<ClaimRequest> = {}): ClaimRequest => ({
  scope: 's',
  key,
  owner: `owner-${owners++}`,
  leaseMs: 60_000,
  fingerprint: null,
  ...more,
})

export async function hold(
  store: IdempotencyStore,
  request: ClaimRequest,
): Promise<HeldClaim & { readonly attempts: number }> {
  const answer = await store.claim(request)
  if (answer.state !== 'claimed') throw new Error(`'${request.key}' is ${answer.state}`)
  return { scope: request.scope, key: request.key, token: answer.token, attempts: answer.attempts }
}
