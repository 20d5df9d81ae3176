import { describe, it } from 'vitest'
import { idempotencyStoreContract } from '../../src/testing/contracts/idempotency-store-contract.ts'
import { claimTable, releasedMs } from '../../src/testing/world/claim-table.ts'
import type { IdempotencyStore } from '../../src/idempotency/store.ts'

/** The simulation would prove a fiction if its store promised something else than the real ones. */
describe('the claim table of the simulated database', () => {
  for (const { name, run } of idempotencyStoreContract(create)) it(name, run)
})

function create() {
  let nowMs = 0
  const table = claimTable(() => nowMs)
  const heldWhere = (row: unknown) => (row === undefined ? ('lost' as const) : ('ok' as const))
  const store: IdempotencyStore = {
    name: 'simulated',
    claim: async (request) => table.claim(request),
    renew: async (held, leaseMs) => table.renew(held, leaseMs),
    complete: async (held, retainMs) => heldWhere(table.settle(held, 'completed', retainMs)),
    async release(held, attempts) {
      const row = table.settle(held, 'released', releasedMs)
      if (row !== undefined) row.attempts = attempts
      return heldWhere(row)
    },
    async fail(held, failure, retainMs) {
      const row = table.settle(held, 'failed', retainMs)
      if (row !== undefined) Object.assign(row, { failure, attempts: failure.attempts })
      return heldWhere(row)
    },
  }
  return {
    store,
    advance: async (ms: number) => {
      nowMs += ms
    },
  }
}
