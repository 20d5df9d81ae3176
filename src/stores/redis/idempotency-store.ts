import { HoldfastError } from '../../core/errors.ts'
import type { ClaimRequest, ClaimResult, Held, HeldClaim, IdempotencyStore } from '../../idempotency/store.ts'
import { badOption, requireCount, requireMs, requireText } from '../../core/options.ts'
import { apart, batcher } from '../batcher.ts'
import { failureFromJson, failureToJson } from '../failure-json.ts'
import { claimScript, settleScript, type Script } from './scripts.ts'

/** What is asked of ioredis: a `Redis` or a `Cluster`. */
export interface RedisSlice {
  evalsha(sha: string, keyCount: number, ...keysAndArguments: (string | number)[]): Promise<unknown>
  eval(script: string, keyCount: number, ...keysAndArguments: (string | number)[]): Promise<unknown>
  info(section: string): Promise<string>
  wait(replicas: number, timeoutMs: number): Promise<number>
  readonly isCluster?: boolean
}

export interface RedisIdempotencyStoreOptions {
  /** What its keys begin with. @defaultValue `'holdfast'` */
  readonly prefix?: string
  /** How many replicas must have confirmed a write before it counts. Not on a cluster. @defaultValue 0 */
  readonly waitReplicas?: number
  /** How long to wait for them. @defaultValue 1000 */
  readonly waitMs?: number
  /** How long the attempts of a key that nobody settles are remembered. @defaultValue 7 days */
  readonly forgetMs?: number
  /** Goes on where the server may evict keys, and thereby forget claims. @defaultValue `false` */
  readonly allowEviction?: boolean
  /** How many claims travel in one call at most. @defaultValue 250 */
  readonly maxBatch?: number
  /** How many calls of one kind travel at once. @defaultValue 4 */
  readonly maxInFlight?: number
}

export interface RedisIdempotencyStore extends IdempotencyStore {
  /**
   * Looks whether the server keeps what it is given. The first claim does it too.
   * @throws HoldfastError `bad-option` where its `maxmemory-policy` may evict claims, `unavailable` where it is not there.
   */
  check(): Promise<void>
}

const where = 'redisIdempotencyStore'

/**
 * Keeps the claims in Redis: fast, and as safe as that server. A failover can lose what was acknowledged, so effects may
 * repeat then; where that costs money, keep the claims in PostgreSQL.
 */
export function redisIdempotencyStore(
  redis: RedisSlice,
  {
    prefix = 'holdfast',
    waitReplicas = 0,
    waitMs = 1000,
    forgetMs = 7 * 86_400_000,
    allowEviction = false,
    maxBatch = 250,
    maxInFlight = 4,
  }: RedisIdempotencyStoreOptions = {},
): RedisIdempotencyStore {
  requireText(where, { prefix })
  requireCount(where, { waitReplicas }, 0)
  requireCount(where, { maxBatch, maxInFlight })
  requireMs(where, { waitMs, forgetMs })
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

  async function run({ sha, text }: Script, names: readonly string[], values: readonly string[]): Promise<string> {
    const answers = redis.evalsha(sha, names.length, ...names, forget, ...values).catch((error: unknown) => {
      if (!isReply(error, 'NOSCRIPT')) throw error
      return redis.eval(text, names.length, ...names, forget, ...values)
    })
    if (waitReplicas > 0) await confirmed(answers)
    const answer = await answers
    return typeof answer === 'string' ? answer : ''
  }

  async function confirmed(answers: Promise<unknown>): Promise<void> {
    // After the script on the same connection: WAIT is about the writes before it.
    await answers
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
    const [token = '', ...answers] = (await run(claimScript, requests.map(nameOf), values)).split('\n')
    const fresh: ClaimResult = { state: 'claimed', token: BigInt(token), attempts: 1 }
    return answers.map((answer) => (answer === 'c' ? fresh : claimResult(answer)))
  }

  async function sendSettlements(settlements: readonly Settlement[]): Promise<readonly Held[]> {
    const values: string[] = []
    for (const { held, state, rest, forMs } of settlements)
      values.push(state + String(held.token).padStart(16, '0') + rest, String(Math.ceil(forMs)))
    const answers = await run(
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
    async claim(request) {
      requireStorable('scope', request.scope)
      requireStorable('key', request.key)
      return claim(request)
    },
    renew: (held, leaseMs) => settle({ held, state: 'p', rest: '', forMs: leaseMs }),
    complete: (held, retainMs) => settle({ held, state: 'c', rest: '', forMs: retainMs }),
    release: (held, attempts) => settle({ held, state: 'r', rest: String(attempts), forMs: forget }),
    fail: (held, failure, retainMs) => settle({ held, state: 'f', rest: failureToJson(failure), forMs: retainMs }),
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

/** A server that does not tell leaves the question to whoever set it up. */
function ifForbidden(cause: unknown): string {
  if (isReply(cause, 'NOPERM') || isReply(cause, 'ERR unknown command')) return ''
  throw new HoldfastError('unavailable', `${where}: Redis did not answer`, { cause })
}

/** Whether the server itself answered with an error, rather than not at all. */
function isReply(error: unknown, start = ''): boolean {
  return error instanceof Error && error.name === 'ReplyError' && error.message.startsWith(start)
}

const longestText = 4096

function requireStorable(name: string, text: string): void {
  if (text.length > longestText || !text.isWellFormed())
    throw badOption(where, name, `well-formed text of at most ${longestText} characters`, text)
}
