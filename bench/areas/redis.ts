import { Idempotency } from '@node-idempotency/core'
import { RedisStorageAdapter } from '@node-idempotency/storage-adapter-redis'
import { redisIdempotencyStore, type RedisSlice } from 'holdfast/redis'
import { Redis } from 'ioredis'
import { onPath, run } from '../../scripts/services/commands.ts'
import { privateRedis, type PrivateServer } from '../../test/support/private-servers.ts'
import { compare, inFlight, type Contender, type Row } from '../measure.ts'

const leaseMs = 30_000
const retainMs = 7 * 86_400_000

/** A claim and its completion, each key once, beside a peer and beside what the server can do at all. */
export async function* redisArea(rounds: number): AsyncIterable<Row> {
  const server = await privateRedis()
  const redis = new Redis(server.url)
  const adapter = new RedisStorageAdapter({ url: server.url })
  try {
    await adapter.connect()
    const shared = { area: 'redis', sliceMs: 300 }
    for (const atOnce of [1, 16, 64, 256]) {
      const name = `claim + complete, ${atOnce} in flight`
      const ours = holdfast(redis, atOnce)
      const wanted = { 16: 0.9, 64: 1.15, 256: 1.5 }[atOnce]
      yield await compare(
        {
          ...shared,
          name,
          ours,
          beside: peer(redis, adapter, atOnce),
          target: wanted === undefined ? null : { speed: wanted },
        },
        rounds,
      )
      if (onPath('redis-benchmark') === undefined) {
        console.error(
          'redis: redis-benchmark is not on the PATH (Debian: apt-get install redis-tools): no limit measured',
        )
        continue
      }
      for (const keys of new Set([1, Math.ceil(atOnce / 4)])) {
        const beside = await limit(redis, server, atOnce, keys)
        const row = await compare({ ...shared, name, ours, beside, target: null }, rounds)
        yield { ...row, detail: `${row.detail}; the C client sends our own calls and reads no answer` }
      }
    }
  } finally {
    redis.disconnect()
    await adapter.disconnect()
    await server.dispose()
  }
}

let keys = 0

function holdfast(redis: Redis, atOnce: number): Contender {
  const store = redisIdempotencyStore(redis)
  return {
    name: 'holdfast',
    async run(times) {
      await redis.flushdb()
      return inFlight(times, atOnce, async () => {
        const key = `key-${keys++}`
        const answer = await store.claim({ scope: 'bench', key, owner: key, leaseMs, fingerprint: null })
        if (answer.state !== 'claimed') throw new Error(`${key} is ${answer.state}`)
        await store.complete({ scope: 'bench', key, token: answer.token }, retainMs)
      })
    },
  }
}

/** One SET for the claim and one for the completion, which asks nobody whose claim it is; pipelined by node-redis. */
function peer(redis: Redis, adapter: RedisStorageAdapter, atOnce: number): Contender {
  const idempotency = new Idempotency(adapter, { cacheTTLMS: retainMs })
  return {
    name: '@node-idempotency/core',
    async run(times) {
      await redis.flushdb()
      return inFlight(times, atOnce, async () => {
        const request = { method: 'POST', path: '/bench', headers: { 'idempotency-key': `key-${keys++}` } }
        await idempotency.onRequest(request)
        await idempotency.onResponse(request, {})
      })
    },
  }
}

/**
 * The same calls from a client in C that does nothing else: claims of new keys, then completions of keys that were
 * claimed before, drawn at random, so that some come twice, which is the same work.
 */
async function limit(redis: Redis, server: PrivateServer, atOnce: number, keysPerCall: number): Promise<Contender> {
  const calls: string[][] = []
  const recorded: RedisSlice = {
    evalsha: (...call) => {
      calls.push(['EVALSHA', ...call.map(String)])
      return redis.evalsha(...call)
    },
    eval: redis.eval.bind(redis),
    info: redis.info.bind(redis),
    wait: redis.wait.bind(redis),
  }
  /** Claims so many at once, in one call: so they share a token. */
  async function claimed(count: number): Promise<bigint> {
    const store = redisIdempotencyStore(recorded, { maxBatch: count })
    const answers = await Promise.all(
      Array.from({ length: count }, (_, at) => {
        const key = numbered(at)
        return store.claim({ scope: 'bench', key, owner: key, leaseMs, fingerprint: null })
      }),
    )
    const [first] = answers
    if (first?.state !== 'claimed') throw new Error(`${numbered(0)} is ${first?.state}`)
    return first.token
  }
  /** The call that the store makes for so many keys, each drawn at random. */
  const random = (call: readonly string[] = []): string[] =>
    call.map((argument) => argument.replace(/key-\d{12}/, 'key-__rand_int__'))

  async function sent(call: readonly string[], calls: number, range: number): Promise<number> {
    const connections = Math.min(4, Math.ceil(atOnce / keysPerCall))
    const pipelined = Math.max(1, Math.floor(atOnce / keysPerCall / connections))
    const startMs = performance.now()
    const csv = await run('redis-benchmark', [
      ...['-p', String(server.port), '-c', String(connections), '-P', String(pipelined)],
      ...['-n', String(calls), '-r', String(range), '--csv', ...call],
    ])
    const callsPerSecond = Number(csv.split('\n')[1]?.split('","')[1])
    // It knows no rate of what took less than one of its ticks.
    return callsPerSecond > 0 && callsPerSecond < Infinity
      ? (calls / callsPerSecond) * 1000
      : performance.now() - startMs
  }

  return {
    name: keysPerCall === 1 ? 'redis-benchmark, pipelined' : `redis-benchmark, ${keysPerCall} keys a call, pipelined`,
    async run(times) {
      await redis.flushdb()
      const callsMade = Math.ceil(times / keysPerCall)
      calls.length = 0
      await claimed(keysPerCall)
      const claimsMs = await sent(random(calls.at(-1)), callsMade, 1e9)
      await redis.flushdb()
      // One call carries no more arguments than fit on a stack.
      const known = Math.min(times, 10_000)
      const token = await claimed(known)
      const store = redisIdempotencyStore(recorded)
      await Promise.all(
        Array.from({ length: keysPerCall }, (_, at) =>
          store.complete({ scope: 'bench', key: numbered(at), token }, retainMs),
        ),
      )
      return claimsMs + (await sent(random(calls.at(-1)), callsMade, known))
    },
  }
}

const numbered = (at: number): string => `key-${String(at).padStart(12, '0')}`
