import { createHash } from 'node:crypto'

export interface Script {
  readonly text: string
  readonly sha: string
}

// One hash for each key:
//   s  state: p in progress, c completed, f failed, r released     t  token            n  attempts
//   o  owner, l  end of the lease in µs (while in progress)        f  fingerprint      e  failure (when failed)
// Retention is the expiry of the hash, the lease is a field of it: the two are never one.
// Time is the server's own, in µs: 16 digits, which a double holds exactly and only `%.0f` prints in full.

/**
 * Claims each of KEYS. ARGV: for how many ms an unsettled key is remembered, then owner, lease in ms and fingerprint
 * (`=` in front; empty: none) for each. Answers one text for each: `c<token>:<attempts>`, `p<ms left>`, `d`, `f<failure>`
 * or `x` for a key that is known with another fingerprint.
 */
export const claimScript: Script = script(`
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local forget = tonumber(ARGV[1])
local answers = {}
for i = 1, #KEYS do
  local key, at = KEYS[i], i * 3 - 1
  local owner, lease, fingerprint = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  local known = redis.call('HMGET', key, 's', 't', 'o', 'l', 'n', 'f')
  local state, token, attempts = known[1], tonumber(known[2] or 0), tonumber(known[5] or 0)
  local resent = state == 'p' and known[3] == owner
  if state and fingerprint ~= '' and known[6] and known[6] ~= fingerprint then
    answers[i] = 'x'
  elseif state == 'c' then
    answers[i] = 'd'
  elseif state == 'f' then
    answers[i] = 'f' .. redis.call('HGET', key, 'e')
  elseif state == 'p' and not resent and tonumber(known[4]) > now then
    answers[i] = 'p' .. math.ceil((tonumber(known[4]) - now) / 1000)
  else
    if not resent then
      -- A clock that was set back must not make a later token the lower one.
      token = math.max(token + 1, now)
      attempts = attempts + 1
    end
    local text = string.format('%.0f', token)
    redis.call('HSET', key, 's', 'p', 't', text, 'o', owner, 'n', attempts,
      'l', string.format('%.0f', now + lease * 1000))
    if fingerprint ~= '' and not known[6] then redis.call('HSET', key, 'f', fingerprint) end
    redis.call('PEXPIRE', key, lease + forget)
    answers[i] = 'c' .. text .. ':' .. attempts
  end
end
return answers`)

/**
 * Renews (`p`), completes (`c`), releases (`r`) or fails (`f`) each of KEYS. ARGV: for how many ms an unsettled key is
 * remembered, then token, letter, ms, attempts and failure for each. Answers 1 where the token holds the key, or has put
 * it into that state before; else 0.
 */
export const settleScript: Script = script(`
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local forget = tonumber(ARGV[1])
local answers = {}
for i = 1, #KEYS do
  local key, at = KEYS[i], i * 5 - 3
  local token, state, ms = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local known = redis.call('HMGET', key, 's', 't')
  if known[2] == token and (known[1] == 'p' or known[1] == state) then
    if state == 'p' then
      redis.call('HSET', key, 'l', string.format('%.0f', now + ms * 1000))
      redis.call('PEXPIRE', key, ms + forget)
    elseif state == 'c' then
      redis.call('HSET', key, 's', 'c')
      redis.call('HDEL', key, 'o', 'l', 'n')
      redis.call('PEXPIRE', key, ms)
    elseif state == 'f' then
      redis.call('HSET', key, 's', 'f', 'e', ARGV[at + 4])
      redis.call('HDEL', key, 'o', 'l', 'n')
      redis.call('PEXPIRE', key, ms)
    else
      redis.call('HSET', key, 's', 'r', 'n', ARGV[at + 3])
      redis.call('HDEL', key, 'o', 'l')
      redis.call('PEXPIRE', key, forget)
    end
    answers[i] = 1
  else
    answers[i] = 0
  end
end
return answers`)

function script(text: string): Script {
  return { text, sha: createHash('sha1').update(text).digest('hex') }
}
