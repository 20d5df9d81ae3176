import { describe, it } from 'vitest'
import { parkingStoreContract } from '../../../src/testing/contracts/parking-store-contract.ts'
import { fakeClock } from '../../../src/testing/fake-clock.ts'
import { memoryIdempotencyStore } from '../../../src/transports/memory/idempotency-store.ts'

describe('the parking store contract, in memory', () => {
  const create = () => {
    const clock = fakeClock()
    return { store: memoryIdempotencyStore({ clock }), advance: (ms: number) => Promise.resolve(clock.advance(ms)) }
  }
  for (const { name, run } of parkingStoreContract(create)) it(name, run)
})
