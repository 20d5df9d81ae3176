import { Redis } from 'ioredis'
import { afterAll, expect, it } from 'vitest'
import { redisLimits } from '../../../src/stores/redis/index.ts'
import { placesScript } from '../../../src/stores/redis/limits.ts'
import { placesCases, runPlacesCase } from '../places-cases.ts'
import { describeWith, redisUrl, uniqueName } from '../../support/services.ts'

describeWith(['redis'], 'rates in Redis', () => {
  const redis = new Redis(redisUrl())
  const prefix = uniqueName('test')
  const limits = redisLimits(redis, { prefix })
  afterAll(() => redis.disconnect())
  const terms = { perSecond: 10, burst: 3, aheadMs: 1_000, earned: 0 }

  it('F-15: gives the burst at once, then each token its own time, up to how far ahead one may be taken', async () => {
    const answers = []
    for (let n = 0; n < 20; n++) answers.push(await limits.take('api', { ...terms, count: 1 }))
    expect(answers.slice(0, 3)).toEqual(Array(3).fill({ taken: 1, inMs: 0 }))
    const ahead = answers.slice(3).filter(({ taken }) => taken === 1)
    // A second ahead at ten a second, and what came back while this ran.
    expect(ahead.length).toBeGreaterThanOrEqual(10)
    for (const [n, { inMs }] of ahead.entries()) expect(inMs).toBeLessThanOrEqual((n + 1) * 100)
    expect(new Set(ahead.map(({ inMs }) => inMs)).size).toBeGreaterThan(8)
    const late = answers.at(-1)
    if (late?.taken === 0) expect(late.inMs).toBeGreaterThan(0)
  })

  it('many processes take no more than one would', async () => {
    const clients = Array.from({ length: 8 }, () => new Redis(redisUrl()))
    const startMs = performance.now()
    const taken = await Promise.all(
      clients.map(async (client) => {
        const own = redisLimits(client, { prefix })
        let sum = 0
        for (let n = 0; n < 20; n++) sum += (await own.take('many', { ...terms, aheadMs: 0, count: 1 })).taken
        return sum
      }),
    )
    const seconds = (performance.now() - startMs) / 1000
    const sum = taken.reduce((all, each) => all + each, 0)
    expect(sum).toBeGreaterThanOrEqual(3)
    expect(sum).toBeLessThanOrEqual(3 + Math.ceil(seconds * 10))
    for (const client of clients) client.disconnect()
  })

  it('adds what was earned, and no more than the burst', async () => {
    for (let n = 0; n < 3; n++) await limits.take('earning', { ...terms, perSecond: 0.001, aheadMs: 0, count: 1 })
    const slow = { ...terms, perSecond: 0.001, aheadMs: 0 }
    expect(await limits.take('earning', { ...slow, count: 1 })).toMatchObject({ taken: 0 })
    expect(await limits.take('earning', { ...slow, count: 9, earned: 50 })).toMatchObject({ taken: 3 })
  })
})

describeWith(['redis'], 'places in Redis', () => {
  const redis = new Redis(redisUrl())
  const prefix = uniqueName('test')
  afterAll(() => redis.disconnect())

  for (const [n, each] of placesCases.entries())
    it(each.name, () => runPlacesCase(each, redisLimits(redis, { prefix }), `g${n}`))

  /** The same script with a rule left out: some case must see it. */
  it.each<[string, string, string, RegExp]>([
    ['running work not counted', 'math.min(math.max(grant, held), free)', 'grant', /what still runs/],
    ['no share', 'math.min(want, fair, free)', 'math.min(want, free)', /fair share/],
    ['no rotation', '(at + round) % sharers', '(at - 1) % sharers', /goes round/],
    ['lapsed lines kept', 'if tonumber(ends) <= now then', 'if false then', /dead process/],
  ])('F-11: breaks where it is planted: %s', async (what, rule, instead, found) => {
    const text = placesScript.text.replace(rule, instead)
    expect(text).not.toBe(placesScript.text)
    const broken = {
      evalsha: () => Promise.reject(new Error('NOSCRIPT')),
      eval: (_: string, count: number, ...rest: (string | number)[]) => redis.eval(text, count, ...rest),
    }
    const seen: string[] = []
    for (const [n, each] of placesCases.entries())
      await runPlacesCase(each, redisLimits(broken, { prefix }), `${what} ${n}`).catch(() => seen.push(each.name))
    expect(seen.join()).toMatch(found)
  })
})
