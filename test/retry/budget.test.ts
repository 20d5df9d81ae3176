import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { retryBudget } from '../../src/retry/budget.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'

describe('retryBudget()', () => {
  it('starts full, empties, and fills with time', async () => {
    const clock = fakeClock()
    const budget = retryBudget({ maxTokens: 2, tokensPerSecond: 4, ratio: 0, clock })
    expect([budget.spend(), budget.spend(), budget.spend()]).toEqual([true, true, false])
    expect(budget.waitMs()).toBe(250)
    await clock.advance(250)
    expect(budget.waitMs()).toBe(0)
    expect([budget.spend(), budget.spend()]).toEqual([true, false])
    await clock.advance(3_600_000)
    expect(budget.tokens).toBe(2)
  })

  it('earns a share of a token for each first attempt', () => {
    const budget = retryBudget({ maxTokens: 1, tokensPerSecond: 0.001, ratio: 0.25, clock: fakeClock() })
    expect(budget.spend()).toBe(true)
    const allowed = [1, 2, 3, 4].map(() => {
      budget.earn()
      return budget.spend()
    })
    expect(allowed).toEqual([false, false, false, true])
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
          let spent = 0
          for (const each of steps) {
            if (each.do === 'earn') {
              budget.earn()
              bound += ratio
            } else if (each.do === 'wait') {
              await clock.advance(each.ms)
              bound += (each.ms / 1000) * tokensPerSecond
            } else {
              const expected = budget.tokens >= 1
              expect(budget.spend()).toBe(expected)
              if (expected) spent++
              else expect(budget.waitMs()).toBeGreaterThan(0)
            }
            expect(spent).toBeLessThanOrEqual(bound + 1e-6)
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
