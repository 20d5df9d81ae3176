import { createHash } from 'node:crypto'
import { checkOptions, ms, text as aText } from '../../core/options.ts'
import type { Limits } from '../../retry/store.ts'
import { requireScripts, runScript, type RedisScripts } from './circuits.ts'

export interface RedisLimitsOptions {
  /** The prefix of all keys. @defaultValue `'holdfast'` */
  readonly prefix?: string
  /** Length of a lease of places in ms: the places of a process that died are free after it. @defaultValue 5_000 */
  readonly leaseMs?: number
}

// The generic cell rate algorithm (GCRA): the key holds when the bucket is full again, in µs by the server's clock. A token
// may be taken ahead, so that each caller knows how long to wait.
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

// One hash for each group: owner = kept, want, expiry of the line, by the server's clock. kept: what it was granted, or what
// still runs of an earlier and larger grant.
const placesText = `
local owner, held, want = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local max, lease = tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lines, others, all = redis.call('HGETALL', KEYS[1]), 0, { { owner, want } }
for i = 1, #lines, 2 do
  local kept, wanted, ends = string.match(lines[i + 1], '^(%d+) (%d+) (%d+)$')
  if tonumber(ends) <= now then redis.call('HDEL', KEYS[1], lines[i])
  elseif lines[i] ~= owner then
    others = others + kept
    all[#all + 1] = { lines[i], tonumber(wanted) }
  end
end
-- Who wants least is served first; those who want more than their share divide what is left.
table.sort(all, function(a, b) return a[2] < b[2] or (a[2] == b[2] and a[1] < b[1]) end)
local left, fair = max, want
for i, one in ipairs(all) do
  local sharers = #all - i + 1
  if one[2] * sharers > left then
    local names = {}
    for j = i, #all do names[#names + 1] = all[j][1] end
    table.sort(names)
    local round = math.floor(now / lease)
    for at, name in ipairs(names) do
      if name == owner then
        fair = math.floor(left / sharers)
        if (at + round) % sharers < left % sharers then fair = fair + 1 end
      end
    end
    break
  end
  left = left - one[2]
end
local free = math.max(0, max - others)
local grant = math.min(want, fair, free)
local kept = math.min(math.max(grant, held), free)
if want == 0 and held == 0 then redis.call('HDEL', KEYS[1], owner)
else redis.call('HSET', KEYS[1], owner, string.format('%d %d %.0f', kept, want, now + lease)) end
redis.call('PEXPIRE', KEYS[1], lease * 2)
return grant`
/** Places of one group: who holds how many, and what one process is granted. */
export const placesScript: { readonly text: string; readonly sha: string } = {
  text: placesText,
  sha: createHash('sha1').update(placesText).digest('hex'),
}
const rateScript = { text, sha: createHash('sha1').update(text).digest('hex') }

// It is renewed five times, and each renewal is a round trip.
const leastLeaseMs = 250

/** Shares rates, retry budgets and places in Redis, with one script and one key each. It works on a cluster too. */
export function redisLimits(redis: RedisScripts, options: RedisLimitsOptions = {}): Limits {
  const { prefix = 'holdfast', leaseMs = 5_000 } = checkOptions('redisLimits', options, {
    prefix: aText,
    leaseMs: ms(leastLeaseMs),
  })
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
    leaseMs,
    async hold(limit, { owner, held, want, max, leaseMs: forMs }) {
      const key = `${prefix}:{places:${limit.length}:${limit}}`
      return Number(await runScript(redis, placesScript, key, [owner, held, want, max, Math.ceil(forMs)]))
    },
  }
}
