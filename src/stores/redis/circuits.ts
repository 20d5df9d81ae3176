import { badOption, checkOptions, ms, text } from '../../core/options.ts'
import type { CircuitAnswer, CircuitExchange, Circuits } from '../../retry/store.ts'
import { circuitScript } from './circuit-script.ts'

/** What holdfast needs of an ioredis client. */
export interface RedisScripts {
  evalsha(sha: string, keyCount: number, ...keysAndArguments: (string | number)[]): Promise<unknown>
  eval(script: string, keyCount: number, ...keysAndArguments: (string | number)[]): Promise<unknown>
}

export interface RedisCircuitsOptions {
  /** The prefix of all keys. @defaultValue `'holdfast'` */
  readonly prefix?: string
  /** Interval of a process's reports in ms while it makes calls. @defaultValue 1_000 */
  readonly beatMs?: number
}

const states = { c: 'closed', o: 'open', h: 'half-open' } as const
const letters = { closed: 'c', open: 'o', 'half-open': 'h' } as const
const votes = { none: 0, works: 1, open: 2 } as const
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
    ...[votes[sight.vote], sight.bad, age(sight.badAgeMs), age(sight.answerAgeMs)],
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
