import { expect } from 'vitest'
import type { Limits } from '../../src/retry/store.ts'

export interface RatesCase {
  readonly name: string
  /** `more()` opens the same store from another process. */
  run(limits: Limits, limit: string, more: () => Limits): Promise<void>
}

const terms = { perSecond: 10, burst: 3, aheadMs: 1_000, earned: 0 }

export const ratesCases: readonly RatesCase[] = [
  {
    name: 'F-15: gives the burst at once, then each token its own time, up to how far ahead one may be taken',
    async run(limits, limit) {
      const answers = []
      for (let n = 0; n < 20; n++) answers.push(await limits.take(limit, { ...terms, count: 1 }))
      expect(answers.slice(0, 3)).toEqual(Array(3).fill({ taken: 1, inMs: 0 }))
      const ahead = answers.slice(3).filter(({ taken }) => taken === 1)
      // A second ahead at ten a second, and what came back while this ran.
      expect(ahead.length).toBeGreaterThanOrEqual(10)
      for (const [n, { inMs }] of ahead.entries()) expect(inMs).toBeLessThanOrEqual((n + 1) * 100)
      expect(new Set(ahead.map(({ inMs }) => inMs)).size).toBeGreaterThan(8)
      const late = answers.at(-1)
      if (late?.taken === 0) expect(late.inMs).toBeGreaterThan(0)
    },
  },
  {
    name: 'many processes take no more than one would',
    async run(_, limit, more) {
      const startMs = performance.now()
      const taken = await Promise.all(
        Array.from({ length: 8 }, async () => {
          const own = more()
          let sum = 0
          for (let n = 0; n < 20; n++) sum += (await own.take(limit, { ...terms, aheadMs: 0, count: 1 })).taken
          return sum
        }),
      )
      const seconds = (performance.now() - startMs) / 1000
      const sum = taken.reduce((all, each) => all + each, 0)
      expect(sum).toBeGreaterThanOrEqual(3)
      expect(sum).toBeLessThanOrEqual(3 + Math.ceil(seconds * 10))
    },
  },
  {
    name: 'adds what was earned, and no more than the burst',
    async run(limits, limit) {
      const slow = { ...terms, perSecond: 0.001, aheadMs: 0 }
      for (let n = 0; n < 3; n++) await limits.take(limit, { ...slow, count: 1 })
      expect(await limits.take(limit, { ...slow, count: 1 })).toMatchObject({ taken: 0 })
      expect(await limits.take(limit, { ...slow, count: 9, earned: 50 })).toMatchObject({ taken: 3 })
    },
  },
]
