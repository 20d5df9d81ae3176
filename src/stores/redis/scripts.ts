import { createHash } from 'node:crypto'

export interface Script {
  readonly text: string
  readonly sha: string
}

// One text for each key, since every command that a script calls costs as much as all the rest of it: the claim of a new
// key is one SET, a settlement a GET and a SET.
//   letter       p in progress, c completed, f failed, r released; q and d for p and c where a result is kept; a capital
//                where a fingerprint is kept
//   token        16 digits: the server's time in µs, or one more than the token before
//   fingerprint  where one is kept, with its length and a colon in front
//   result       the same
//   p: end of the lease in µs (16 digits), attempts, `/` and the generation of a redrive, colon, owner
//   r: attempts     f: the generation of a redrive, the failure     c: nothing
// Retention is the expiry of the key, the lease stands in the text: the two are never one.
// A double holds 16 digits exactly, and only `%.0f` prints them in full.
const head = `
local function digits(number) return string.format('%016.0f', number) end
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
local function counted(text)
  local colon = string.find(text, ':', 1, true)
  local last = colon + tonumber(string.sub(text, 1, colon - 1))
  return string.sub(text, 1, last), string.sub(text, last + 1)
end
local function parts(text)
  local letter, token, rest = string.match(text, '^([pcfrqdPCFRQD])(${'%d'.repeat(16)})(.*)$')
  if not letter then error('the key holds what is not a claim') end
  local state, fingerprint, result = string.lower(letter), '', ''
  if state ~= letter then fingerprint, rest = counted(rest) end
  if state == 'q' or state == 'd' then
    state = state == 'q' and 'p' or 'c'
    result, rest = counted(rest)
  end
  return state, token, fingerprint, rest, result
end
local function whole(state, token, fingerprint, rest, result)
  local letter = state
  if result ~= '' then letter = state == 'p' and 'q' or 'd' end
  if fingerprint ~= '' then letter = string.upper(letter) end
  return letter .. token .. fingerprint .. result .. rest
end
`

/**
 * Claims each of KEYS. ARGV: for how many ms an unsettled key is remembered, then lease in ms, `/` and the generation of a
 * redrive, and the fingerprint (its length and a colon in front; empty: none) behind a space, and owner for each. Answers one text, a line for each:
 * `c` for a new key, whose token is the first line, `c<token>:<attempts>`, `p<ms left>`, `d`, `f<failure>`, or `x` for a
 * key that is known with another fingerprint.
 */
export const claimScript: Script = script(`${head}
local now, forget = now(), ARGV[1]
local fresh = digits(now)
local answers = { fresh }
local terms, lease, generation, fingerprint, ms, start
for i = 1, #KEYS do
  local key, owner = KEYS[i], ARGV[i * 2 + 1]
  -- Nearly always those of the key before.
  if ARGV[i * 2] ~= terms then
    terms = ARGV[i * 2]
    lease, generation, fingerprint = string.match(terms, '^(%d+)(/?%d*) (.*)$')
    ms = string.format('%.0f', lease + forget)
    lease = digits(now + lease * 1000)
    start = (fingerprint == '' and 'p' or 'P') .. fresh .. fingerprint .. lease .. '1' .. generation .. ':'
  end
  if redis.call('SET', key, start .. owner, 'NX', 'PX', ms) then
    answers[i + 1] = 'c'
  else
    local state, token, kept, rest, result = parts(redis.call('GET', key))
    local till, attempts, holder
    if state == 'p' then
      till, attempts, holder = string.match(rest, '^(${'%d'.repeat(16)})(%d+)/?%d*:(.*)$')
    else
      attempts = rest
    end
    if state == 'f' and generation ~= '' then
      -- A redrive that is newer than the one that failed last is a new start.
      local last = tonumber('0' .. string.match(rest, '^%d*'))
      if tonumber(string.sub(generation, 2)) > last then state, attempts, kept = 'r', 0, '' end
    end
    local resent = holder == owner
    if fingerprint ~= '' and kept ~= '' and kept ~= fingerprint then
      answers[i + 1] = 'x'
    elseif state == 'c' then
      answers[i + 1] = 'd'
    elseif state == 'f' then
      answers[i + 1] = 'f' .. string.match(rest, '^%d*(.*)$')
    elseif state == 'p' and not resent and tonumber(till) > now then
      answers[i + 1] = 'p' .. math.ceil((till - now) / 1000)
    else
      if not resent then
        -- A clock that was set back must not make a later token the lower one.
        token = digits(math.max(token + 1, now))
        attempts = string.format('%.0f', attempts + 1)
        result = ''
      end
      if kept == '' then kept = fingerprint end
      rest = lease .. attempts .. generation .. ':' .. owner
      redis.call('SET', key, whole('p', token, kept, rest, result), 'PX', ms)
      answers[i + 1] = 'c' .. token .. ':' .. attempts
    end
  end
end
return table.concat(answers, '\\n')`)

/**
 * Renews (`p`), completes (`c`), releases (`r`) or fails (`f`) each of KEYS. ARGV: for how many ms an unsettled key is
 * remembered, then letter, token and what follows as one text, and ms for each. Answers one text, a character for each:
 * 1 where the token holds the key, or has put it into that state before; else 0.
 */
export const settleScript: Script = script(`${head}
local time, answers = nil, {}
for i = 1, #KEYS do
  local key, new, ms = KEYS[i], ARGV[i * 2], ARGV[i * 2 + 1]
  local wanted, old, done = string.sub(new, 1, 1), nil, false
  answers[i] = '0'
  if wanted == 'c' then
    -- Written first, and taken back where it was not to be: one command a key instead of two.
    old = redis.call('SET', key, new, 'XX', 'KEEPTTL', 'GET')
    done = old and string.sub(old, 1, 1) == 'p' and string.sub(old, 2, 17) == string.sub(new, 2, 17)
    if done then
      answers[i] = '1'
      time = time or now()
      -- A claim is kept for its lease and as long as an unsettled key: nearly always that is the retention too.
      if ms ~= ARGV[1] or tonumber(string.sub(old, 18, 33)) < time then redis.call('PEXPIRE', key, ms) end
    elseif old then
      redis.call('SET', key, old, 'KEEPTTL')
    end
  else
    old = redis.call('GET', key)
  end
  if old and not done and string.sub(old, 2, 17) == string.sub(new, 2, 17) then
    local state, token, fingerprint, rest, result = parts(old)
    if state == 'p' or state == wanted then
      -- What failed or was released has no result.
      if wanted == 'f' or wanted == 'r' then result = '' end
      if wanted == 'p' then
        rest = digits(now() + ms * 1000) .. string.sub(rest, 17)
        ms = string.format('%.0f', ms + ARGV[1])
      elseif wanted == 'f' then
        local generation = string.match(rest, state == 'p' and '^%d+/(%d+):' or '^%d+') or ''
        rest = generation .. string.sub(new, 18)
      else
        rest = string.sub(new, 18)
      end
      redis.call('SET', key, whole(wanted, token, fingerprint, rest, result), 'PX', ms)
      answers[i] = '1'
    end
  end
end
return table.concat(answers)`)

/**
 * Keeps a result with the claim of the key. ARGV: a number that it does not read, the token, and the result with its length
 * and a colon in front. Answers 1 where that token holds the key or has completed it; else 0.
 */
export const keepScript: Script = script(`${head}
local old = redis.call('GET', KEYS[1])
if not old or string.sub(old, 2, 17) ~= ARGV[2] then return '0' end
local state, token, fingerprint, rest = parts(old)
if state ~= 'p' and state ~= 'c' then return '0' end
redis.call('SET', KEYS[1], whole(state, token, fingerprint, rest, ARGV[3]), 'KEEPTTL')
return '1'`)

/** Answers an equals sign and the result of a completed key; an empty text where there is none. */
export const resultScript: Script = script(`${head}
local old = redis.call('GET', KEYS[1])
if not old then return '' end
local state, _, _, _, result = parts(old)
if state ~= 'c' or result == '' then return '' end
return '=' .. string.match(result, ':(.*)$')`)

function script(text: string): Script {
  return { text, sha: createHash('sha1').update(text).digest('hex') }
}
