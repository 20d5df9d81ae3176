import { HoldfastError, PermanentError } from '../../core/errors.ts'
import type { ResultStore } from '../../idempotency/remember/store.ts'
import type { ClaimRequest, ClaimResult, Held, HeldClaim } from '../../idempotency/store.ts'
import { badOption, checkOptions, count, flag, having, ms, text } from '../../core/options.ts'
import { apart, batcher } from '../batcher.ts'
import { checkClient } from '../clients.ts'
import { failureFromJson, failureToJson } from '../failure-json.ts'
import { claimScript, keepScript, resultScript, settleScript, type Script } from './scripts.ts'

/** What holdfast needs of ioredis: a `Redis` or a `Cluster`. */
export interface RedisSlice {
  evalsha(sha: string, keyCount: number, ...keysAndArguments: (string | number)[]): Promise<unknown>
  eval(script: string, keyCount: number, ...keysAndArguments: (string | number)[]): Promise<unknown>
  info(section: string): Promise<string>
  wait(replicas: number, timeoutMs: number): Promise<number>
  readonly isCluster?: boolean
}

export interface RedisIdempotencyStoreOptions {
  /** The prefix of all keys. @defaultValue `'holdfast'` */
  readonly prefix?: string
  /** Number of replicas that must confirm a write before it counts. Must be 0 on a cluster. @defaultValue 0 */
  readonly waitReplicas?: number
  /** Longest wait for those replicas in ms. @defaultValue 1000 */
  readonly waitMs?: number
  /** How long to keep the attempts of an unsettled key, in ms. @defaultValue 7 days */
  readonly forgetMs?: number
  /** Accepts a server that may evict keys, and so lose claims. @defaultValue `false` */
  readonly allowEviction?: boolean
  /** Most claims in one call. @defaultValue 250 */
  readonly maxBatch?: number
  /** Most concurrent calls of one kind. @defaultValue 4 */
  readonly maxInFlight?: number
}

export interface RedisIdempotencyStore extends ResultStore {
  /**
   * Checks that the server does not evict keys. The first claim checks it too.
   * @throws HoldfastError `bad-option` when its `maxmemory-policy` may evict claims, `unavailable` when Redis does not answer.
   */
  check(): Promise<void>
}

const where = 'redisIdempotencyStore'

/**
 * Keeps claims in Redis. It is fast, and as safe as that server: a failover can lose acknowledged writes, and effects may
 * then repeat. If repeats cost money, keep the claims in PostgreSQL.
 */
export function redisIdempotencyStore(
  redis: RedisSlice,
  options: RedisIdempotencyStoreOptions = {},
): RedisIdempotencyStore {
  const {
    prefix = 'holdfast',
    waitReplicas = 0,
    waitMs = 1000,
    forgetMs = 7 * 86_400_000,
    allowEviction = false,
    maxBatch = 250,
    maxInFlight = 4,
  } = checkOptions(where, options, {
    prefix: text,
    waitReplicas: count(0),
    waitMs: ms(),
    forgetMs: ms(),
    allowEviction: flag,
    maxBatch: count(),
    maxInFlight: count(),
  })
  checkClient(where, 'redis', redis, having('evalsha', 'eval', 'info', 'wait'), {
    instead: { 'a client of node-redis': 'this store takes a Redis or a Cluster of ioredis' },
  })
  const clustered = redis.isCluster === true
  if (clustered && waitReplicas > 0)
    throw badOption(where, 'waitReplicas', '0 on a cluster, whose WAIT asks any of its nodes', waitReplicas)
  const forget = Math.ceil(forgetMs)
  let checked = allowEviction

  // The length keeps scope `a` with key `b:c` apart from scope `a:b` with key `c`.
  const nameOf = ({ scope, key }: Pick<HeldClaim, 'scope' | 'key'>): string =>
    `${prefix}:${scope.length}:${scope}:${key}`

  async function check(): Promise<void> {
    const policy = evicting(await redis.info('memory').catch(ifForbidden))
    if (policy !== undefined)
      throw new HoldfastError(
        'bad-option',
        `${where}: the server's maxmemory-policy must be noeviction, got ${policy}: it would forget claims when memory is short`,
      )
    checked = true
  }

  async function run({ sha, text: lua }: Script, names: readonly string[], values: readonly string[]): Promise<string> {
    const answer = await redis.evalsha(sha, names.length, ...names, forget, ...values).catch((error: unknown) => {
      if (!isReply(error, 'NOSCRIPT')) throw error
      return redis.eval(lua, names.length, ...names, forget, ...values)
    })
    return typeof answer === 'string' ? answer : ''
  }

  async function write(script: Script, names: readonly string[], values: readonly string[]): Promise<string> {
    const answer = await run(script, names, values)
    if (waitReplicas > 0) await confirmed()
    return answer
  }

  async function confirmed(): Promise<void> {
    // After the script on the same connection: WAIT is about the writes before it.
    const replicas = await redis.wait(waitReplicas, waitMs)
    if (replicas < waitReplicas)
      throw new HoldfastError('unavailable', `${where}: ${replicas} of ${waitReplicas} replicas confirmed the write`)
  }

  async function sendClaims(requests: readonly ClaimRequest[]): Promise<readonly (ClaimResult | undefined)[]> {
    if (!checked) await check()
    const values: string[] = []
    for (const { owner, leaseMs, fingerprint, generation = 0 } of requests) {
      const redrive = generation === 0 ? '' : `/${generation}`
      values.push(`${Math.ceil(leaseMs)}${redrive} ${fingerprint === null ? '' : withLength(fingerprint)}`, owner)
    }
    const [token = '', ...answers] = (await write(claimScript, requests.map(nameOf), values)).split('\n')
    const fresh: ClaimResult = { state: 'claimed', token: BigInt(token), attempts: 1 }
    return answers.map((answer) => (answer === 'c' ? fresh : claimResult(answer)))
  }

  async function sendSettlements(settlements: readonly Settlement[]): Promise<readonly Held[]> {
    const values: string[] = []
    for (const { held, state, rest, forMs } of settlements)
      values.push(state + tokenText(held) + rest, String(Math.ceil(forMs)))
    const answers = await write(
      settleScript,
      settlements.map(({ held }) => nameOf(held)),
      values,
    )
    return Array.from(answers, (answer) => (answer === '1' ? 'ok' : 'lost'))
  }

  // The keys of one call to a cluster must share a slot, which keys hardly ever do: each travels alone there.
  const limits = { maxBatch: clustered ? 1 : maxBatch, maxInFlight: clustered ? Infinity : maxInFlight }
  const claim = batcher<ClaimRequest, ClaimResult>({ send: apart(sendClaims, isReply), ...limits })
  const settle = batcher<Settlement, Held>({ send: apart(sendSettlements, isReply), ...limits })

  return {
    name: 'redis',
    check,
    async claim(request, { signal } = {}) {
      requireStorable('scope', request.scope)
      requireStorable('key', request.key)
      return claim(request, signal).catch(refusedKey)
    },
    renew: (held, leaseMs, { signal } = {}) => settle({ held, state: 'p', rest: '', forMs: leaseMs }, signal),
    complete: (held, retainMs) => settle({ held, state: 'c', rest: '', forMs: retainMs }).catch(refusedKey),
    release: (held, attempts) => settle({ held, state: 'r', rest: String(attempts), forMs: forget }),
    fail: (held, failure, retainMs) => settle({ held, state: 'f', rest: failureToJson(failure), forMs: retainMs }),
    // Results are as large as they are, so each travels alone. As text: the client reads answers as UTF-8.
    async keepResult(held, { buffer, byteOffset, byteLength }) {
      const result = withLength(Buffer.from(buffer, byteOffset, byteLength).toString('base64'))
      const answer = await write(keepScript, [nameOf(held)], [tokenText(held), result]).catch(refusedKey)
      return answer === '1' ? 'ok' : 'lost'
    },
    async resultOf(scope, key) {
      const answer = await run(resultScript, [nameOf({ scope, key })], []).catch(refusedKey)
      return answer === '' ? null : Buffer.from(answer.slice(1), 'base64')
    },
  }
}

interface Settlement {
  readonly held: HeldClaim
  readonly state: 'p' | 'c' | 'r' | 'f'
  readonly rest: string
  readonly forMs: number
}

function claimResult(answer: string): ClaimResult | undefined {
  const rest = answer.slice(1)
  switch (answer.charAt(0)) {
    case 'c': {
      const [token = '', attempts] = rest.split(':')
      return { state: 'claimed', token: BigInt(token), attempts: Number(attempts) }
    }
    case 'p':
      return { state: 'in-progress', retryAfterMs: Number(rest) }
    case 'd':
      return { state: 'completed' }
    case 'f':
      return { state: 'failed', failure: failureFromJson(rest) }
    case 'x':
      return { state: 'conflict' }
    default:
      return undefined
  }
}

function tokenText({ token }: HeldClaim): string {
  return String(token).padStart(16, '0')
}

// Lua counts bytes.
function withLength(text: string): string {
  return `${Buffer.byteLength(text)}:${text}`
}

/** The policy of a server that evicts, as `INFO memory` tells it. Without a limit nothing is ever evicted. */
function evicting(info: string): string | undefined {
  const limit = /^maxmemory:(\d+)/m.exec(info)?.[1] ?? '0'
  const policy = /^maxmemory_policy:([\w-]+)/m.exec(info)?.[1] ?? 'noeviction'
  return limit === '0' || policy === 'noeviction' ? undefined : policy
}

/** A server, or a proxy, that does not tell leaves the question to those who set it up. */
function ifForbidden(cause: unknown): string {
  // Refusals come in many words; these alone say that the server takes no commands at all now.
  if (isReply(cause) && !/^(LOADING|NOAUTH|WRONGPASS|BUSY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN)\b/.test(cause.message))
    return ''
  throw new HoldfastError('unavailable', `${where}: Redis did not answer`, { cause })
}

/** Whether the server itself answered with an error, rather than not at all. */
function isReply(error: unknown, start = ''): error is Error {
  return error instanceof Error && error.name === 'ReplyError' && error.message.startsWith(start)
}

const longestText = 4096

/** That one key cannot be kept is that message's own fault: the others go on. */
function requireStorable(name: string, value: string): void {
  if (value.length > longestText || !value.isWellFormed())
    throw new PermanentError(
      `${where}: a ${name} must be well-formed text of at most ${longestText} characters, got '${value.slice(0, 80)}'`,
    )
}

/** The key is somebody else's: of another type, or with a text that is no claim. */
function refusedKey(error: unknown): never {
  if (!isReply(error) || !/WRONGTYPE|the key holds what is not a claim/.test(error.message)) throw error
  throw new PermanentError(`${where}: the key is taken by something else than a claim`, { cause: error })
}
