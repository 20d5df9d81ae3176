import { describe, expect, it } from 'vitest'
import {
  deadLetter,
  idempotency,
  pipeline,
  retry,
  staged,
  timeout,
  type Facts,
  type Middleware,
  type Stage,
} from '../../src/index.ts'
import { circuitBreaker } from '../../src/retry/index.ts'
import { bulkhead } from '../../src/retry/index.ts'
import { memoryIdempotencyStore } from '../../src/transports/memory/index.ts'

const stage = (name: string, more: Partial<Stage> = {}): Middleware => staged((next) => next, { name, ...more })
const withFacts = (name: string, facts: Facts): Middleware => stage(name, { facts })
const to = { publish: () => Promise.resolve() }

describe('describe() of odd stacks', () => {
  it('a handler alone', () => {
    const { stages, worstAttempts, worstMs, warnings } = pipeline('bare')
      .handle(() => {})
      .describe()
    expect([stages, worstAttempts, worstMs]).toEqual([[], 1, null])
    expect(warnings.join()).toContain('no deadLetter()')
  })

  it('the narrower of two bulkheads decides, wherever it stands', () => {
    const pool = withFacts('transaction', { poolSize: 10, database: 'postgresql' })
    for (const [outer, inner] of [
      [8, 64],
      [64, 8],
    ] as const) {
      const built = pipeline('orders')
        .use(bulkhead({ maxConcurrent: outer }))
        .use(bulkhead({ maxConcurrent: inner }))
        .use(pool)
        .handle(() => {})
      expect(built.stages.map(({ name }) => name)).toEqual(['bulkhead', 'bulkhead', 'transaction'])
    }
    expect(() =>
      pipeline('orders')
        .use(bulkhead({ maxConcurrent: 64 }))
        .use(bulkhead({ maxConcurrent: 32 }))
        .use(pool)
        .handle(() => {}),
    ).toThrow('bulkhead lets 32 handlers run, but the transaction')
  })

  it('two circuits, a hundred stages of a user, and names that every object has', () => {
    let builder = pipeline('orders')
      .use(retry())
      .use(circuitBreaker({ name: 'a' }))
      .use(circuitBreaker({ name: 'b' }))
    for (const name of ['constructor', '__proto__', 'toString'])
      builder = builder.use(stage(name, { notInside: { hasOwnProperty: 'no' } }))
    for (let n = 0; n < 100; n++) builder = builder.use((next) => next)
    const described = builder.handle(() => {}).describe()
    expect(described.stages).toHaveLength(106)
    expect(String(described).split('\n').length).toBeGreaterThan(106)
  })

  it('facts of nothing in particular print as they are', () => {
    const text = String(
      pipeline('orders')
        .use(withFacts('odd', { maxAttempts: 1, store: '' }))
        .handle(() => {})
        .describe(),
    )
    expect(text).toContain('└ odd  (maxAttempts 1, store )')
  })

  it('asking twice, and of a branch, changes nothing', () => {
    const begun = pipeline('orders')
      .use(deadLetter({ to }))
      .use(idempotency({ store: memoryIdempotencyStore() }))
    const one = begun
      .use(retry({ maxAttempts: 3 }))
      .use(timeout({ afterMs: 1000 }))
      .handle(() => {})
    const other = begun.handle(() => {})
    expect(String(one.describe())).toBe(String(one.describe()))
    expect(one.describe().worstAttempts).toBe(3)
    expect(other.describe().worstAttempts).toBe(1)
  })
})
