import { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { idempotency, pipeline } from 'holdfast'
import { redisIdempotencyStore } from 'holdfast/redis'
import { explore, ResilienceError, simulate, type ExploreOptions, type Fault } from 'holdfast/testing'
import { ambient } from '../../src/testing/world/ambient.ts'
import { scenarioOf } from '../../src/testing/explorer/explore.ts'
import { search } from '../../src/testing/explorer/explorer.ts'
import { describeWith, redisUrl, uniqueName } from '../support/services.ts'

const size = { messages: 2, keys: 1, partitions: 1 }
const charge = (_id: string): void => {}
const ofDelivery: readonly Fault[] = ['duplicate', 'redelivery', 'rebalance', 'slow', 'outlive']

describeWith(['redis'], 'simulate(redis)', () => {
  let redis: Redis
  let real: Redis
  beforeAll(() => {
    redis = new Redis(redisUrl())
    real = simulate(redis)
  })
  afterAll(() => redis.disconnect())

  /** Looks first and notes afterwards, as is often seen. */
  function getThenSet(): ExploreOptions<{ charge: typeof charge }> {
    const prefix = uniqueName('naive')
    return {
      ...size,
      faults: ofDelivery,
      effects: { charge },
      invariants: ['once'],
      pipeline: ({ run, effects, handler }) =>
        pipeline('naive').handle(
          handler(async ({ message: { id } }) => {
            const key = `${prefix}:${run}:${id}`
            if ((await real.get(key)) !== null) return
            await effects.charge(id)
            await real.set(key, 'done', 'EX', 600)
          }),
        ),
    }
  }

  it('finds the get-then-set that charges twice', { timeout: 120_000 }, async () => {
    const error: unknown = await explore({ ...getThenSet(), seeds: 300 }).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(ResilienceError)
    if (!(error instanceof ResilienceError)) return
    expect(error.invariant).toBe('once')
    expect(error.replay.split('; ').length - 1).toBeLessThanOrEqual(4)
    // The statements stand in the story.
    expect(error.message).toMatch(/A +get m1/)

    const again = new Set<string>()
    for (let i = 0; i < 15; i++)
      await explore({ ...getThenSet(), replay: error.replay }).catch((thrown: Error) => again.add(thrown.message))
    expect(again.size).toBe(1)
  })

  it('runs the same schedules twice, step for step', { timeout: 120_000 }, async () => {
    const [one, two] = [
      await hashes({ ...getThenSet(), invariants: [] }),
      await hashes({ ...getThenSet(), invariants: [] }),
    ]
    expect(one).toHaveLength(101)
    expect(one).toEqual(two)
    expect(new Set(one).size).toBeGreaterThan(50)
  })

  it('passes a script that looks and books in one go, whatever goes wrong', { timeout: 120_000 }, async () => {
    const prefix = uniqueName('booked')
    const book = `if redis.call('set', KEYS[1], '1', 'nx') then redis.call('incr', KEYS[2]) end`
    const { schedules } = await explore({
      ...size,
      seeds: 150,
      faults: ['duplicate', 'redelivery', 'crash', 'crash-after-send', 'lose-reply', 'fail', 'rebalance', 'pause'],
      pipeline: ({ run, handler }) =>
        pipeline('booked').handle(
          handler(({ message: { id } }) => real.eval(book, 2, `${prefix}:${run}:${id}`, `${prefix}:sum:${run}:${id}`)),
        ),
    })
    const sums = await redis.keys(`${prefix}:sum:*`)
    expect(schedules).toBe(151)
    expect(sums.length).toBeGreaterThan(300)
    expect(new Set(await redis.mget(sums))).toEqual(new Set(['1']))
  })

  it('passes our store, whose claims are scripts too', { timeout: 120_000 }, async () => {
    const prefix = uniqueName('ours')
    const { schedules } = await explore({
      ...size,
      seeds: 100,
      // Crashes leave leases that only real time ends.
      faults: ['duplicate', 'redelivery', 'rebalance', 'slow'],
      effects: { charge },
      invariants: ['once', 'no-loss', 'acked-settled', 'key-order'],
      pipeline: ({ run, clock, effects, handler }) =>
        pipeline(`orders-${run}`)
          .use(idempotency({ store: redisIdempotencyStore(real, { prefix }), clock }))
          .handle(handler(({ message }) => effects.charge(message.id))),
    })
    expect(schedules).toBe(101)
  })

  it('sends what was collected by multi() and pipeline() as one call', async () => {
    const prefix = uniqueName('multi')
    const answers: unknown[] = []
    await explore({
      ...size,
      seeds: 1,
      faults: [],
      pipeline: ({ run, handler }) =>
        pipeline('multi').handle(
          handler(async ({ message: { id } }) => {
            const key = `${prefix}:${run}:${id}`
            answers.push(await real.multi().incr(key).incr(key).exec(), await real.pipeline().get(key).exec())
          }),
        ),
    })
    expect(answers.slice(0, 2)).toEqual([
      [
        [null, 1],
        [null, 2],
      ],
      [[null, '2']],
    ])
    expect(answers).toHaveLength(2 * 2 * 2)
  })
})

async function hashes(options: ExploreOptions<{ charge: typeof charge }>): Promise<readonly string[]> {
  const restore = ambient()
  const seen: string[] = []
  try {
    await search(await scenarioOf(options), { seeds: 100, onRun: ({ simulation }) => void seen.push(simulation.hash) })
  } finally {
    restore()
  }
  return seen
}
