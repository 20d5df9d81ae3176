import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isRetryLater } from '../../src/core/errors.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { retryBudget } from '../../src/retry/budget.ts'
import { retry } from '../../src/retry/retry.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'

describe('retryBudget()', () => {
  it('starts full, empties, and fills with time', async () => {
    const clock = fakeClock()
    const budget = retryBudget({ maxTokens: 2, tokensPerSecond: 4, ratio: 0, clock })
    expect([budget.spend('a'), budget.spend('b'), budget.spend('c')]).toEqual([0, 0, 250])
    expect(budget.tokens).toBe(0)
    await clock.advance(3_600_000)
    expect(budget.tokens).toBe(2)
  })

  it('earns a share of a token for each first attempt', () => {
    const budget = retryBudget({ maxTokens: 1, tokensPerSecond: 0.001, ratio: 0.25, clock: fakeClock() })
    expect(budget.spend('a')).toBe(0)
    for (const tokens of [0, 0, 0, 1]) {
      budget.earn()
      expect(budget.tokens).toBe(tokens)
    }
  })

  it('F-15: gives each waiter a time of its own, and takes nothing when it comes back then', async () => {
    const clock = fakeClock()
    const budget = retryBudget({ maxTokens: 1, tokensPerSecond: 10, ratio: 0, clock })
    const ids = Array.from({ length: 1_000 }, (_, n) => `m${n}`)
    for (const [n, id] of ids.entries()) expect(budget.spend(id)).toBeCloseTo(n * 100)
    // Asked too early, it says what is left of the wait; it takes no second token.
    await clock.advance(50)
    expect(budget.spend('m1')).toBeCloseTo(50)
    await clock.advance(50)
    expect(budget.spend('m1')).toBe(0)
    // The token of m1 is used: its next retry stands at the end of the queue.
    expect(budget.spend('m1')).toBeCloseTo(99_900)
  })

  it('F-15: a thousand waiting messages come back once each', async () => {
    const clock = fakeClock()
    const budget = retryBudget({ maxTokens: 1, tokensPerSecond: 10, ratio: 0, clock })
    let deliveries = 0
    let handled = 0
    const step = pipeline<null>('orders')
      .use(retry({ clock, budget, sleepUpToMs: 0 }))
      .handle(() => void handled++)
    const deliver = async (id: string): Promise<void> => {
      deliveries++
      await step.dispatch({ message: { id, body: null }, attempt: 2 }).catch((error: unknown) => {
        if (!isRetryLater(error)) throw error
        clock.after(error.afterMs, () => void deliver(id))
      })
    }
    for (let n = 0; n < 1_000; n++) void deliver(`m${n}`)
    await clock.advance(100_000)
    expect(handled).toBe(1_000)
    expect(deliveries).toBe(1_999)
  })

  it('B-1: never allows more than what was saved, earned and filled', async () => {
    const step = fc.oneof(
      fc.constant({ do: 'earn' as const }),
      fc.constant({ do: 'spend' as const }),
      fc.integer({ min: 1, max: 5_000 }).map((ms) => ({ do: 'wait' as const, ms })),
    )
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 20 }),
        fc.double({ min: 0, max: 2, noNaN: true }),
        fc.double({ min: 0.01, max: 50, noNaN: true }),
        fc.array(step, { maxLength: 100 }),
        async (maxTokens, ratio, tokensPerSecond, steps) => {
          const clock = fakeClock()
          const budget = retryBudget({ maxTokens, ratio, tokensPerSecond, clock })
          let bound = maxTokens
          /** When each token that was taken is used. */
          const used: number[] = []
          for (const [n, each] of steps.entries()) {
            if (each.do === 'earn') {
              budget.earn()
              bound += ratio
            } else if (each.do === 'wait') {
              await clock.advance(each.ms)
              bound += (each.ms / 1000) * tokensPerSecond
            } else {
              const there = budget.tokens >= 1
              const waitMs = await budget.spend(`m${n}`)
              expect(waitMs === 0).toBe(there)
              used.push(clock.now() + waitMs)
            }
            const spent = used.filter((atMs) => atMs <= clock.now()).length
            expect(spent).toBeLessThanOrEqual(bound + 1e-3)
            expect(budget.tokens).toBeLessThanOrEqual(maxTokens)
          }
        },
      ),
      { numRuns: 50 },
    )
  })

  it.each([
    [{ ratio: -1 }, 'retryBudget: ratio must be a number of at least 0, got -1'],
    [{ tokensPerSecond: 0 }, 'retryBudget: tokensPerSecond must be a number above 0, got 0'],
    [{ maxTokens: 0 }, 'retryBudget: maxTokens must be a number of at least 1, got 0'],
    [{ name: '' }, "retryBudget: name must be a text that is not empty, got ''"],
  ])('refuses %j', (options, message) => {
    expect(() => retryBudget(options)).toThrow(message)
  })
})
