import { Buffer } from 'node:buffer'
import { get, Agent } from 'node:http'
import { Redis } from 'ioredis'
import pg from 'pg'
import { subscribe } from '../../../src/core/events.ts'
import { headersFrom, headerText } from '../../../src/core/message.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import { retry } from '../../../src/retry/retry.ts'
import { bulkhead } from '../../../src/retry/bulkhead.ts'
import { postgresLimits } from '../../../src/stores/postgres/index.ts'
import { placesScript, redisLimits } from '../../../src/stores/redis/limits.ts'
import { memoryBroker } from '../../../src/transports/memory/broker.ts'
import { memoryConsumer } from '../../../src/transports/memory/consumer.ts'
import {
  leaseMs,
  maxConcurrent,
  names,
  tenants,
  zero,
  type LimitsWorkerCounts,
  type LimitsWorkerSettings,
  type Tenant,
} from './settings.ts'

const { id, targetUrl, redisUrl, postgres, prefix, limited, planted, flood, concurrency } = JSON.parse(
  process.argv[2] ?? '{}',
) as LimitsWorkerSettings
const redis = new Redis(redisUrl, { maxRetriesPerRequest: 0, enableOfflineQueue: false, retryStrategy: () => 200 })
redis.on('error', () => {})

/** What `--broken` plants in the script: the rule, and what stands there instead. */
const plants: Readonly<Record<string, readonly [string, string]>> = {
  'running-not-counted': ['math.min(math.max(grant, held), free)', '0'],
  'each-for-itself': ['elseif lines[i] ~= owner then', 'elseif false then'],
}
const plant = plants[planted ?? '']
const text = plant === undefined ? placesScript.text : placesScript.text.replace(...plant)
if (plant !== undefined && text === placesScript.text) throw new Error(`the script has no rule '${plant[0]}'`)
const client =
  plant === undefined
    ? redis
    : {
        evalsha: () => Promise.reject(new Error('NOSCRIPT')),
        eval: (_: string, count: number, ...rest: (string | number)[]) => redis.eval(text, count, ...rest),
      }

function limits(): ReturnType<typeof redisLimits> {
  if (postgres === null) return redisLimits(client, { prefix, leaseMs })
  const pool = new pg.Pool({ connectionString: postgres.url, max: 2 })
  pool.on('error', () => {})
  return postgresLimits(pool, { schema: postgres.schema, leaseMs })
}

const agent = new Agent({ keepAlive: true })
const call = (tenant: string, signal: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    get(`${targetUrl}/?tenant=${tenant}`, { agent, signal }, (answer) => {
      answer.resume()
      answer.on('end', () => resolve())
    }).on('error', reject)
  })

const counts: LimitsWorkerCounts = {
  ...{ sent: zero(), done: zero(), refused: zero(), lostPlaces: zero(), waitedMs: zero(), ranMs: zero() },
}
const sentAtMs = new Map<string, number>()
subscribe('limit-reached', ({ group }) => {
  if (isTenant(group)) counts.refused[group]++
})
const isTenant = (group: string | undefined): group is Tenant => names.some((name) => name === group)
const builder = pipeline(id)
const limit = bulkhead({
  ...{ name: 'tenants', maxConcurrent, share: limits() },
  by: ({ headers }) => headerText(headers, 'tenant') ?? '',
})
const orders = (limited ? builder.use(limit) : builder).use(retry()).handle(async ({ message, signal }) => {
  const tenant = headerText(message.headers, 'tenant') as Tenant
  const startedMs = performance.now()
  try {
    await call(tenant, signal)
  } catch (error) {
    if (signal.aborted) counts.lostPlaces[tenant]++
    throw error
  }
  counts.done[tenant]++
  counts.waitedMs[tenant] += startedMs - (sentAtMs.get(message.id) ?? NaN)
  counts.ranMs[tenant] += performance.now() - startedMs
})

const broker = memoryBroker()
const stop = new AbortController()
const running = memoryConsumer({
  broker,
  groupId: 'limits',
  topics: ['orders'],
  pipeline: orders,
  concurrency,
  ahead: 2_000,
}).run(stop.signal)
const perSecond: Readonly<Record<Tenant, number>> = { ...tenants, flood }
const publisher = broker.publisher()
for (const tenant of names)
  setInterval(() => {
    const number = counts.sent[tenant]++
    const headers = headersFrom([['tenant', tenant]])
    sentAtMs.set(`${id}-${tenant}-${number}`, performance.now())
    const parts = { destination: 'orders', id: `${id}-${tenant}-${number}`, key: `${tenant}-${number}`, headers }
    void publisher.publish([outgoing({ ...parts, body: Buffer.from('{}') })])
  }, 1000 / perSecond[tenant])

process.stdin.on('data', () => {
  console.log(`end ${JSON.stringify(counts)}`)
  stop.abort()
  void running.finally(() => process.exit(0))
})
// The process that started it is gone.
process.stdin.on('end', () => process.exit(0))
console.log('ready')
