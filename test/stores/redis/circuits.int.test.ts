import { Redis } from 'ioredis'
import { afterAll, expect, it } from 'vitest'
import { circuitScript } from '../../../src/stores/redis/circuit-script.ts'
import { redisCircuits } from '../../../src/stores/redis/index.ts'
import { describeWith, redisUrl, uniqueName } from '../../support/services.ts'
import { circuitsCases, runCircuitsCase } from '../circuits-cases.ts'

describeWith(['redis'], 'circuits in Redis', () => {
  const redis = new Redis(redisUrl())
  const prefix = uniqueName('test')
  const keyOf = (circuit: string): string => `${prefix}:{circuit:${circuit.length}:${circuit}}`
  afterAll(() => redis.disconnect())
  const lose = async (circuit: string): Promise<void> => void (await redis.del(keyOf(circuit)))

  for (const [n, each] of circuitsCases.entries())
    it(each.name, () => runCircuitsCase(each, { circuits: redisCircuits(redis, { prefix }), lose }, `c${n}`))

  /** The same script with a rule left out: some case must see it. */
  it.each<[string, string, string, RegExp]>([
    ['settling without the epoch', "if state ~= 'c' and knownEpoch == epoch then", "if state ~= 'c' then", /F-7/],
    ['no adoption of a higher epoch', 'if knownEpoch > epoch then', 'if false then', /F-8/],
    [
      'the window of a dead probe used again',
      "to('o', nextEpoch(), now + window, '', longer(window), since) end\n\n",
      "to('o', nextEpoch(), now, '', window, since) end\n\n",
      /F-7/,
    ],
    [
      'granting twice in a window',
      "elseif what == 'ask' and state == 'o' and till <= now then",
      "elseif what == 'ask' and state ~= 'c' and (state == 'h' or till <= now) then",
      /one probe of many/,
    ],
    ['one process opens the fleet', '(open > 1 or works == 0)', 'true', /F-10/],
  ])('breaks where it is planted: %s', async (what, rule, instead, found) => {
    const text = circuitScript.text.replace(rule, instead)
    expect(text).not.toBe(circuitScript.text)
    const broken = {
      evalsha: () => Promise.reject(new Error('NOSCRIPT')),
      eval: (_: string, count: number, ...rest: (string | number)[]) => redis.eval(text, count, ...rest),
    }
    const seen: string[] = []
    for (const [n, each] of circuitsCases.entries())
      await runCircuitsCase(each, { circuits: redisCircuits(broken, { prefix }), lose }, `${what} ${n}`).catch(() =>
        seen.push(each.name),
      )
    expect(seen.join()).toMatch(found)
  })

  it('lists what is open, who probes, and how many processes say so', async () => {
    const circuits = redisCircuits(redis, { prefix })
    const rules = { openAfter: 10, openMs: 60, maxOpenMs: 200, leaseMs: 5_000 }
    const sight = { vote: 'open', bad: 10, badAgeMs: 5, answerAgeMs: null } as const
    const exchange = { owner: 'host:1', known: { state: 'closed', epoch: 0, leftMs: 0 }, sight, rules } as const
    await circuits.exchange('a:listed', { do: 'report', ...exchange })
    await new Promise((resolve) => setTimeout(resolve, 80))
    await circuits.exchange('a:listed', { do: 'ask', ...exchange })
    const line = (await circuits.list?.())?.find(({ name }) => name === 'a:listed')
    expect(line).toMatchObject({ state: 'half-open', prober: 'host:1', processes: 1, openVotes: 1 })
    expect(line?.leftMs).toBeGreaterThan(1_000)
  })

  it('refuses a client that is no ioredis', () => {
    expect(() => redisCircuits({ eval: () => {} } as never)).toThrow('redisCircuits: redis must be a client of ioredis')
  })
})
