import { createHash } from 'node:crypto'

// One hash for each circuit. st: c closed, o open, h half-open; ep: the epoch; un: until when; pr: who probes; ms: how long
// the next window is; at: since when it is closed or open. p:<owner>: vote, bad, since when, last answer, expiry of the line.
// Instants are the server's own, in ms; only durations go in and out. `%.0f`, since a double prints its digits otherwise.
const text = `
local what, result, owner = ARGV[1], ARGV[2], ARGV[3]
local knownEpoch, knownState, knownLeft = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local vote, bad, badAge, answerAge = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local openAfter, openMs, maxOpenMs = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local leaseMs, forgetMs = tonumber(ARGV[14]), ARGV[15]
local time = redis.call('TIME')
local nowUs = time[1] * 1000000 + time[2]
local now = math.floor(nowUs / 1000)
local key = KEYS[1]
local kept = redis.call('HMGET', key, 'st', 'ep', 'un', 'pr', 'ms', 'at')
local state, epoch, till, prober = kept[1] or 'c', tonumber(kept[2] or 0), tonumber(kept[3] or 0), kept[4] or ''
local window, since = tonumber(kept[5] or openMs), tonumber(kept[6] or 0)

local function digits(number) return string.format('%.0f', number) end
local function longer(ms) return math.min(ms * 1.5, maxOpenMs) end
local function to(newState, newEpoch, newTill, newProber, newWindow, newSince)
  state, epoch, till, prober, window, since = newState, newEpoch, newTill, newProber, newWindow, newSince
  redis.call('HSET', key, 'st', state, 'ep', digits(epoch), 'un', digits(till), 'pr', prober, 'ms', digits(window), 'at', digits(since))
end
local function nextEpoch() return math.max(epoch + 1, nowUs) end

-- This server lost what it knew, or was replaced: the highest epoch is right.
if knownEpoch > epoch then
  if knownState == 'c' then to('c', knownEpoch, 0, '', openMs, now)
  else to('o', knownEpoch, now + math.min(math.max(knownLeft, 0), maxOpenMs), '', openMs, now) end
end
-- The probe died: its window is over, and the next one has to pass.
if state == 'h' and till <= now then to('o', nextEpoch(), now + window, '', longer(window), since) end

redis.call('HSET', key, 'p:' .. owner, table.concat({ vote, bad, badAge < 0 and '0' or digits(now - badAge),
  answerAge < 0 and '0' or digits(now - answerAge), digits(now + 10000) }, ' '))

local granted = 0
if what == 'settle' then
  -- What an older epoch says is about another circuit.
  if state ~= 'c' and knownEpoch == epoch then
    if result == 'answered' then to('c', nextEpoch(), 0, '', openMs, now)
    elseif state == 'h' and prober == owner then
      if result == 'failed' then to('o', nextEpoch(), now + window, '', longer(window), since)
      else to('o', nextEpoch(), now, '', window, since) end
    end
  end
elseif what == 'ask' and state == 'o' and till <= now then
  to('h', nextEpoch(), now + leaseMs, owner, window, since)
  granted = 1
end

-- All lines are read only where somebody has something against it.
if state == 'c' and (vote == 2 or bad > 0) then
  local all, open, works, answered, rows = redis.call('HGETALL', key), 0, 0, since, {}
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 'p:' then
      local v, b, badSince, good, ends = string.match(all[i + 1], '^(%d) (%d+) (%d+) (%d+) (%d+)$')
      if tonumber(ends) <= now then redis.call('HDEL', key, all[i])
      else
        -- A vote from before it closed is about the outage that is over.
        if v == '2' then
          if tonumber(ends) - 10000 > since then open = open + 1 end
        elseif v == '1' then works = works + 1 end
        answered = math.max(answered, tonumber(good))
        rows[#rows + 1] = { tonumber(b), tonumber(badSince) }
      end
    end
  end
  local sum = 0
  for _, row in ipairs(rows) do if row[2] > answered then sum = sum + row[1] end end
  local agreed = open > 0 and open >= works and (open > 1 or works == 0)
  if agreed or sum >= openAfter then to('o', nextEpoch(), now + openMs, '', longer(openMs), now) end
end
redis.call('PEXPIRE', key, forgetMs)
return { state, digits(epoch), math.max(0, till - now), granted, prober }`

/** EXCHANGE of one circuit: adopt what is known, note what was seen, ask or settle, and open where enough was seen. */
export const circuitScript: { readonly text: string; readonly sha: string } = {
  text,
  sha: createHash('sha1').update(text).digest('hex'),
}
