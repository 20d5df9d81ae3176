import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { keyFromDigest, keyFromId, keyOfParts } from '../../src/idempotency/key.ts'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { firstBreach, operations, performInMemory } from './store-properties.ts'

describe('for all options', () => {
  const anyText = fc.oneof(
    fc.string({ minLength: 1, unit: 'binary' }),
    fc.constantFrom('__proto__', 'a:b', '\0', '\ud800'),
  )
  const options = fc.record({
    fingerprint: fc.constantFrom(false, true),
    scope: fc.option(anyText, { nil: undefined }),
    key: fc.constantFrom(keyFromId, keyFromDigest, undefined),
    leaseMs: fc.integer({ min: 3, max: 60_000 }),
    retainMs: fc.integer({ min: 60_000, max: 10 ** 10 }),
    onStoreError: fc.constantFrom('pause' as const, 'fail-open' as const),
  })

  it('I-10 handles a message once and takes its replay for a duplicate', async () => {
    await fc.assert(
      fc.asyncProperty(options, anyText, fc.uint8Array(), async ({ scope, key, ...rest }, id, body) => {
        let runs = 0
        const clock = fakeClock()
        const store = memoryIdempotencyStore({ clock })
        const orders = pipeline('orders')
          .use(
            idempotency({
              store,
              clock,
              ...rest,
              ...(scope !== undefined && { scope }),
              ...(key !== undefined && { key }),
            }),
          )
          .handle(() => void runs++)
        expect(await orders.dispatch({ message: { id, body } })).toBe('handled')
        expect(await orders.dispatch({ message: { id, body } })).toBe('duplicate')
        expect(runs).toBe(1)
      }),
    )
  })

  it('I-24 composes parts to different keys wherever the parts differ', () => {
    const parts = fc.array(fc.oneof(fc.string({ maxLength: 3 }), fc.constantFrom('a:b', '1:a', ':', '')), {
      maxLength: 4,
    })
    fc.assert(
      fc.property(parts, parts, (one, other) => {
        expect(keyOfParts(...one) === keyOfParts(...other)).toBe(JSON.stringify(one) === JSON.stringify(other))
      }),
    )
  })

  it('the memory store never gives a key to two, nor a settled one out again, nor takes orders from a zombie', async () => {
    await fc.assert(
      fc.asyncProperty(operations, async (todo) => {
        expect(firstBreach(await performInMemory(todo))).toBeUndefined()
      }),
      { numRuns: 1000 },
    )
  })
})
