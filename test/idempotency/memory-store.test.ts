import { describe, expect, it } from 'vitest'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import type { IdempotencyStore } from '../../src/idempotency/store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { idempotencyStoreContract } from '../../src/testing/contracts/idempotency-store-contract.ts'

describe('the idempotency store contract, in memory', () => {
  const create = () => {
    const clock = fakeClock()
    return { store: memoryIdempotencyStore({ clock }), advance: clock.advance }
  }
  for (const { name, run } of idempotencyStoreContract(create)) it(name, run)
})

describe('memoryIdempotencyStore()', () => {
  const leaseMs = 1000
  async function completeOne(store: IdempotencyStore, key: string, retainMs: number): Promise<void> {
    const answer = await store.claim({ scope: 's', key, owner: key, leaseMs, fingerprint: null })
    if (answer.state !== 'claimed') throw new Error(answer.state)
    await store.complete({ scope: 's', key, token: answer.token }, retainMs)
  }
  const stateOf = async (store: IdempotencyStore, key: string) =>
    (await store.claim({ scope: 's', key, owner: 'looks', leaseMs, fingerprint: null })).state

  it('I-28 compares instants, so that a retention of 30 days is no timer that overflows', async () => {
    const clock = fakeClock()
    const store = memoryIdempotencyStore({ clock })
    const retainMs = 30 * 86_400_000
    await completeOne(store, 'a', retainMs)
    expect(clock.waiting).toBe(0)
    await clock.advance(retainMs - 1)
    expect(await stateOf(store, 'a')).toBe('completed')
    await clock.advance(1)
    expect(await stateOf(store, 'a')).toBe('claimed')
  })

  it('forgets the key settled longest ago beyond maxKeys, never one in progress', async () => {
    const store = memoryIdempotencyStore({ maxKeys: 2 })
    const held = await store.claim({ scope: 's', key: 'held', owner: 'o', leaseMs, fingerprint: null })
    expect(held.state).toBe('claimed')
    for (const key of ['a', 'b', 'c']) await completeOne(store, key, leaseMs)
    expect(await stateOf(store, 'held')).toBe('in-progress')
    expect(await stateOf(store, 'b')).toBe('completed')
    expect(await stateOf(store, 'c')).toBe('completed')
    expect(await stateOf(store, 'a')).toBe('claimed')
  })

  it('refuses a maxKeys that is none', () => {
    expect(() => memoryIdempotencyStore({ maxKeys: 0 })).toThrow(
      'memoryIdempotencyStore: maxKeys must be an integer of at least 1, got 0',
    )
  })
})
