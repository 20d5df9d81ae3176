import { describe, expect, it } from 'vitest'
import { isRetryLater } from '../../src/core/errors.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import { retryBudget } from '../../src/retry/budget.ts'
import { rateLimit, type RateLimitOptions } from '../../src/retry/rate-limit.ts'
import type { Limits } from '../../src/retry/store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { watch, watched } from '../support/watch.ts'

function limited(options: Partial<RateLimitOptions> = {}) {
  const clock = fakeClock()
  const starts: string[] = []
  let deliveries = 0
  const step = pipeline<null>('orders')
    .use(rateLimit({ perSecond: 10, burst: 2, clock, ...options }))
    .handle(({ message }) => void starts.push(`${message.id} ${clock.now()}`))
  const deliver = async (id: string, key = id): Promise<void> => {
    deliveries++
    await step.dispatch({ message: { id, key, body: null } }).catch((error: unknown) => {
      if (!isRetryLater(error)) throw error
      expect(error.holds).toBe('lane')
      clock.after(error.afterMs, () => void deliver(id, key))
    })
  }
  return { clock, starts, deliver, step, deliveries: () => deliveries }
}

describe('rateLimit()', () => {
  it('F-15: starts a burst, then each message at its own time; each comes back once', async () => {
    const { clock, starts, deliver, deliveries } = limited()
    for (let n = 0; n < 6; n++) void deliver(`m${n}`)
    await clock.advance(1_000)
    expect(starts).toEqual(['m0 0', 'm1 0', 'm2 100', 'm3 200', 'm4 300', 'm5 400'])
    expect(deliveries()).toBe(10)
  })

  it('lets at most the rate and the burst start in any second', async () => {
    const { clock, starts, deliver } = limited()
    for (let ms = 0; ms < 3_000; ms += 20) {
      void deliver(`m${ms}`)
      await clock.advance(20)
    }
    await clock.advance(30_000)
    expect(starts).toHaveLength(150)
    const at = starts.map((start) => Number(start.split(' ')[1]))
    for (const from of at) expect(at.filter((ms) => ms >= from && ms < from + 1_000).length).toBeLessThanOrEqual(12)
  })

  it('has a rate for each group, and one group does not hold another', async () => {
    const told = watch('limit-reached')
    const { clock, starts, deliver } = limited({ by: ({ key }) => key ?? '' })
    for (let n = 0; n < 5; n++) void deliver(`a${n}`, 'ada')
    void deliver('b0', 'bob')
    await clock.advance(0)
    expect(starts).toEqual(['a0 0', 'a1 0', 'b0 0'])
    expect(told.map(({ waitMs }) => Math.round(waitMs))).toEqual([100, 200, 300])
  })

  it('is refused inside idempotency(), and says what it does', () => {
    const store = memoryIdempotencyStore()
    const limit = rateLimit({ perSecond: 5 })
    expect(() =>
      pipeline('orders')
        .use(idempotency({ store }))
        .use(limit)
        .handle(() => {}),
    ).toThrow('rate-limit must not stand inside idempotency')
    expect(limit.stage?.facts?.limit).toBe('5 a second, this process')
  })

  describe('shared', () => {
    it('takes its tokens from the store; while that is away, from a bucket of its own', async () => {
      const told = watch('share-changed')
      let away = false
      const asked: string[] = []
      const share: Limits = {
        name: 'store',
        take(limit) {
          asked.push(limit)
          return away ? new Promise(() => {}) : Promise.resolve({ taken: 1, inMs: asked.length === 2 ? 700 : 0 })
        },
      }
      const { clock, starts, deliver } = limited({ name: 'api', share })
      void deliver('m0')
      void deliver('m1')
      await clock.advance(699)
      expect(starts).toEqual(['m0 0'])
      await clock.advance(1)
      expect(starts).toEqual(['m0 0', 'm1 700'])
      expect(asked).toEqual(['api', 'api'])
      away = true
      void deliver('m2')
      await clock.advance(500)
      expect(starts.at(-1)).toBe('m2 1200')
      away = false
      await deliver('m3')
      expect(told.map(({ online }) => online)).toEqual([false, true])
    })

    it('a retry budget sends what it earned with the next token, and loses none while the store is away', async () => {
      const clock = fakeClock()
      const earned: number[] = []
      let fails = true
      const share: Limits = {
        name: 'store',
        take(_, request) {
          earned.push(request.earned)
          return fails ? Promise.reject(new Error('down')) : Promise.resolve({ taken: 1, inMs: 0 })
        },
      }
      const budget = retryBudget({ name: 'api', ratio: 0.5, share, clock })
      budget.earn()
      budget.earn()
      expect(await budget.spend('m1')).toBe(0)
      fails = false
      expect(await budget.spend('m2')).toBe(0)
      const last = watched(Promise.resolve(budget.spend('m3')))
      await clock.advance(0)
      expect(last.now.value).toBe(0)
      expect(earned).toEqual([1, 1, 0])
    })
  })

  it.each<[object, string]>([
    [{}, 'rateLimit: perSecond must be'],
    [{ perSecond: 0 }, 'rateLimit: perSecond must be'],
    [{ perSecond: 1, burst: 0.5 }, 'rateLimit: burst must be'],
    [{ perSecond: 1, share: {} }, 'rateLimit: share must be an object with take()'],
  ])('refuses %o', (options, message) => {
    expect(() => rateLimit(options as RateLimitOptions)).toThrow(message)
  })
})
