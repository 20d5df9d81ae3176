import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { clamped, exponential, longestDelayMs } from '../../src/retry/backoff.ts'

describe('exponential()', () => {
  it('doubles up to its longest wait', () => {
    const waitMs = exponential({ initialMs: 100, maxMs: 1_000, jitter: 'none' })
    expect([1, 2, 3, 4, 5, 6, 2_000].map(waitMs)).toEqual([100, 200, 400, 800, 1_000, 1_000, 1_000])
  })

  it('B-5: every wait is one that a timer keeps, whatever the numbers', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1e300, noNaN: true }),
        fc.double({ min: 0, max: 1e300, noNaN: true }),
        fc.integer({ min: 1, max: 100_000 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (one, other, attempt, dice) => {
          const [initialMs, maxMs] = [Math.min(one, other), Math.max(one, other)]
          const ms = exponential({ initialMs, maxMs, random: () => dice })(attempt)
          expect(ms).toBeGreaterThanOrEqual(0)
          expect(ms).toBeLessThanOrEqual(Math.min(maxMs, longestDelayMs))
        },
      ),
    )
  })

  it('B-5: full jitter reaches from zero to the wait without jitter, which never shrinks', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10_000 }),
        fc.integer({ min: 0, max: 100_000 }),
        fc.integer({ min: 1, max: 40 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (initialMs, more, attempt, dice) => {
          const maxMs = initialMs + more
          const ceiling = exponential({ initialMs, maxMs, jitter: 'none' })
          expect(exponential({ initialMs, maxMs, random: () => 0 })(attempt)).toBe(0)
          expect(exponential({ initialMs, maxMs, random: () => dice })(attempt)).toBeCloseTo(dice * ceiling(attempt), 6)
          expect(ceiling(attempt + 1)).toBeGreaterThanOrEqual(ceiling(attempt))
        },
      ),
    )
  })

  it('begins with its longest wait where that is shorter than the usual first one', () => {
    const waitMs = exponential({ maxMs: 5, jitter: 'none' })
    expect([1, 2].map(waitMs)).toEqual([5, 5])
  })

  it.each([
    [{ initialMs: 30_001 }, 'exponential: initialMs must be at most maxMs (30000), got 30001'],
    [{ initialMs: -1 }, 'exponential: initialMs must be a number of ms of at least 0, got -1'],
    [{ maxMs: NaN }, 'exponential: maxMs must be a number of ms of at least 0, got NaN'],
  ])('refuses %j', (options, message) => {
    expect(() => exponential(options)).toThrow(message)
  })

  it('refuses a jitter that it does not know', () => {
    // @ts-expect-error not one of the two
    expect(() => exponential({ jitter: 'half' })).toThrow(
      "exponential: jitter must be one of 'full', 'none', got 'half'",
    )
  })
})

describe('clamped()', () => {
  it.each([
    [5, 5],
    [0, 0],
    [-1, 0],
    [NaN, 0],
    [Infinity, longestDelayMs],
    [2 ** 31, longestDelayMs],
  ])('%d → %d', (ms, clampedMs) => {
    expect(clamped(ms)).toBe(clampedMs)
  })
})
