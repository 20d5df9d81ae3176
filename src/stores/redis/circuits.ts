import { HoldfastError } from '../../core/errors.ts'
import { badOption, checkOptions, ms, text } from '../../core/options.ts'
import type { CircuitAnswer, CircuitExchange, CircuitLine, Circuits } from '../../retry/store.ts'
import { circuitScript } from './circuit-script.ts'

/** What holdfast needs of an ioredis client. */
export interface RedisScripts {
  evalsha(sha: string, keyCount: number, ...keysAndArguments: (string | number)[]): Promise<unknown>
  eval(script: string, keyCount: number, ...keysAndArguments: (string | number)[]): Promise<unknown>
}

/** For `list()`: what it needs of the client besides. */
interface RedisReads {
  scan(cursor: string, ...options: (string | number)[]): Promise<[string, string[]]>
  hgetall(key: string): Promise<Record<string, string>>
}

export interface RedisCircuitsOptions {
  /** The prefix of all keys. @defaultValue `'holdfast'` */
  readonly prefix?: string
  /** Interval of a process's reports in ms while it makes calls. @defaultValue 1_000 */
  readonly beatMs?: number
}

const states = { c: 'closed', o: 'open', h: 'half-open' } as const
const letters = { closed: 'c', open: 'o', 'half-open': 'h' } as const
const votesByName = { none: 0, works: 1, open: 2 } as const
// A circuit that nobody calls is forgotten: it is closed then, as at the start.
const forgetMs = 60_000

/** Shares circuits in Redis, with one script and one key per circuit. It works on a cluster too. */
export function redisCircuits(redis: RedisScripts, options: RedisCircuitsOptions = {}): Circuits {
  const { prefix = 'holdfast', beatMs = 1_000 } = checkOptions('redisCircuits', options, { prefix: text, beatMs: ms() })
  requireScripts('redisCircuits', redis)
  return {
    name: 'redis',
    beatMs,
    async exchange(circuit, exchange) {
      const key = `${prefix}:{circuit:${circuit.length}:${circuit}}`
      return answerFrom(await runScript(redis, circuitScript, key, argumentsOf(exchange)))
    },
    list: () => listed(redis, prefix),
  }
}

/** Looks through all keys of the server, a thousand at a time: for operators. On a cluster it sees one node. */
async function listed(redis: object, prefix: string): Promise<readonly CircuitLine[]> {
  if (!canRead(redis))
    throw new HoldfastError(
      'bad-option',
      'redisCircuits: this client has no scan() and hgetall() to list circuits with',
    )
  const lines: CircuitLine[] = []
  const start = `${prefix}:{circuit:`
  let cursor = '0'
  do {
    const [next, keys] = await redis.scan(cursor, 'MATCH', `${start.replaceAll(/[*?[\]\\]/g, '\\$&')}*`, 'COUNT', 1_000)
    cursor = next
    for (const key of keys) {
      const name = key.slice(start.length, -1).replace(/^\d+:/, '')
      const hash = await redis.hgetall(key)
      // It may have expired since.
      if (Object.keys(hash).length > 0) lines.push(lineFrom(name, hash))
    }
  } while (cursor !== '0')
  const rank = ({ state }: CircuitLine): number => Number(state === 'closed')
  return lines.toSorted((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1))
}

function canRead(redis: object): redis is RedisReads {
  return ['scan', 'hgetall'].every((name) => typeof Reflect.get(redis, name) === 'function')
}

function lineFrom(
  name: string,
  { st = 'c', ep = '0', un = '0', pr = '', ...voters }: Record<string, string>,
): CircuitLine {
  const nowMs = Date.now()
  // vote, bad, since when, last answer, expiry of the line
  const votes = Object.entries(voters)
    .filter(([field, line]) => field.startsWith('p:') && Number(line.split(' ')[4]) > nowMs)
    .map(([, line]) => Number(line.split(' ')[0]))
  return {
    name,
    state: st === 'o' || st === 'h' ? states[st] : 'closed',
    epoch: Number(ep),
    leftMs: Math.max(0, Number(un) - nowMs),
    prober: pr === '' ? null : pr,
    processes: votes.length,
    openVotes: votes.filter((vote) => vote === votesByName.open).length,
  }
}

/** node-redis has `eval` with other arguments and no `evalsha`: it would fail at the first call only. */
export function requireScripts(where: string, redis: unknown): void {
  const has = (name: string): boolean =>
    typeof redis === 'object' && redis !== null && typeof Reflect.get(redis, name) === 'function'
  if (!has('evalsha') || !has('eval')) throw badOption(where, 'redis', 'a client of ioredis, with evalsha()', redis)
}

export async function runScript(
  redis: RedisScripts,
  { sha, text: script }: { readonly sha: string; readonly text: string },
  key: string,
  values: readonly (string | number)[],
): Promise<unknown> {
  try {
    return await redis.evalsha(sha, 1, key, ...values)
  } catch (error) {
    if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error
    return redis.eval(script, 1, key, ...values)
  }
}

function argumentsOf({ do: what, result = 'nothing', owner, known, sight, rules }: CircuitExchange) {
  const age = (ageMs: number | null): number => (ageMs === null ? -1 : Math.round(ageMs))
  return [
    ...[what, result, owner, known.epoch, letters[known.state], Math.ceil(known.leftMs)],
    ...[votesByName[sight.vote], sight.bad, age(sight.badAgeMs), age(sight.answerAgeMs)],
    ...[rules.openAfter, rules.openMs, rules.maxOpenMs, rules.leaseMs, forgetMs].map((each) => Math.ceil(each)),
  ]
}

function answerFrom(answer: unknown): CircuitAnswer {
  const [letter, epoch, leftMs, granted, prober] = (Array.isArray(answer) ? answer : []) as readonly unknown[]
  return {
    state: letter === 'o' || letter === 'h' ? states[letter] : 'closed',
    epoch: Number(epoch),
    leftMs: Number(leftMs),
    granted: granted === 1,
    prober: typeof prober === 'string' && prober !== '' ? prober : null,
  }
}
