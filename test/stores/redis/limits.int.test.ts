import { Redis } from 'ioredis'
import { afterAll, expect, it } from 'vitest'
import type { Limits } from '../../../src/retry/store.ts'
import { redisLimits } from '../../../src/stores/redis/index.ts'
import { placesScript } from '../../../src/stores/redis/limits.ts'
import { placesCases, runPlacesCase } from '../places-cases.ts'
import { ratesCases } from '../rates-cases.ts'
import { describeWith, redisUrl, uniqueName } from '../../support/services.ts'

describeWith(['redis'], 'rates in Redis', () => {
  const clients: Redis[] = []
  const prefix = uniqueName('test')
  const open = (): Limits => {
    const client = new Redis(redisUrl())
    clients.push(client)
    return redisLimits(client, { prefix })
  }
  afterAll(() => clients.forEach((client) => client.disconnect()))

  for (const { name, run } of ratesCases) it(name, () => run(open(), name, open))
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
