import { describe, expect, it } from 'vitest'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import type { IdempotencyStore } from '../../src/idempotency/store.ts'
import { claimTable, releasedMs } from '../../src/testing/world/claim-table.ts'
import { breach, interleavings, play } from './interleavings.ts'

const leaseMs = 1_000

function memory() {
  let nowMs = 0
  const never = () => () => undefined
  const store = memoryIdempotencyStore({ clock: { now: () => nowMs, wall: () => nowMs, after: never } })
  return { store, leaseEnds: async () => void (nowMs += leaseMs + 1) }
}

function model(checksToken = true) {
  let nowMs = 0
  const table = claimTable(() => nowMs, { checksToken })
  const held = (row: unknown) => (row === undefined ? ('lost' as const) : ('ok' as const))
  const store: IdempotencyStore = {
    name: 'model',
    claim: async (request) => table.claim(request),
    renew: async (claim, ms) => table.renew(claim, ms),
    complete: async (claim, ms) => held(table.settle(claim, 'completed', ms)),
    release: async (claim) => held(table.settle(claim, 'released', releasedMs)),
    fail: async (claim, _, ms) => held(table.settle(claim, 'failed', ms)),
  }
  return { store, leaseEnds: async () => void (nowMs += leaseMs + 1) }
}

describe('every interleaving of claim, renew, complete, release and fail', () => {
  it.for([
    [2, 6],
    [3, 6],
  ] as const)(
    'of %i owners, %i calls deep, keeps what the store promises',
    { timeout: 120_000 },
    async ([owners, depth]) => {
      let count = 0
      for (const turns of interleavings(owners, depth)) {
        count++
        const { store, leaseEnds } = memory()
        const answers = await play(store, turns, { key: 'k', leaseMs, leaseEnds })
        const wrong = breach(answers)
        if (wrong !== undefined) expect.fail(`${wrong}: ${JSON.stringify(answers)}`)
      }
      console.log(`${count} interleavings of ${owners} owners, ${depth} calls deep`)
      expect(count).toBeGreaterThan(50_000)
    },
  )

  it('notices a store that does not look at the token', async () => {
    const breaches = new Set<string | undefined>()
    for (const turns of interleavings(2, 4)) {
      const { store, leaseEnds } = model(false)
      breaches.add(breach(await play(store, turns, { key: 'k', leaseMs, leaseEnds })))
    }
    expect([...breaches]).toContain('complete: ok for a claim that somebody else holds')
  })
})
