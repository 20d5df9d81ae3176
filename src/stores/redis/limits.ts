import { createHash } from 'node:crypto'
import { checkOptions, text as aText } from '../../core/options.ts'
import type { Limits } from '../../retry/store.ts'
import { requireScripts, runScript, type RedisScripts } from './circuits.ts'

export interface RedisLimitsOptions {
  /** The prefix of all keys. @defaultValue `'holdfast'` */
  readonly prefix?: string
}

// The generic cell rate algorithm (GCRA): the key holds when the bucket is full again, in µs by the server's clock. A token
// may be taken ahead, so that whoever waits knows its own time.
const text = `
local count, gap, burst = tonumber(ARGV[1]), 1000000 / ARGV[2], tonumber(ARGV[3])
local ahead, earned = ARGV[4] * 1000, tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full = math.max((tonumber(redis.call('GET', KEYS[1])) or 0) - earned * gap, now - burst * gap)
local may = math.floor((now + ahead - full) / gap)
local taken = math.max(0, math.min(count, may))
local wait = full + gap - now
if taken == 0 then wait = wait - ahead end
full = full + taken * gap
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000 + burst * gap / 1000) + 60000)
return { taken, string.format('%.0f', math.max(0, math.ceil(wait / 1000))) }`
const rateScript = { text, sha: createHash('sha1').update(text).digest('hex') }

/** Shares rates and retry budgets in Redis, with one script and one key each. It works on a cluster too. */
export function redisLimits(redis: RedisScripts, options: RedisLimitsOptions = {}): Limits {
  const { prefix = 'holdfast' } = checkOptions('redisLimits', options, { prefix: aText })
  requireScripts('redisLimits', redis)
  return {
    name: 'redis',
    async take(limit, { count, perSecond, burst, aheadMs, earned }) {
      const key = `${prefix}:{rate:${limit.length}:${limit}}`
      const values = [count, perSecond, burst, aheadMs, earned]
      const answer = await runScript(redis, rateScript, key, values)
      const [taken, inMs] = (Array.isArray(answer) ? answer : []) as readonly unknown[]
      return { taken: Number(taken), inMs: Number(inMs) }
    },
  }
}
