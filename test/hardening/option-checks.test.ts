import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { isHoldfastError } from '../../src/core/errors.ts'
import { memoryBroker } from '../../src/transports/memory/index.ts'

type Loose = (...args: unknown[]) => unknown
type Options = Readonly<Record<string, unknown>>

const published = JSON.parse(readFileSync('package.json', 'utf8')) as {
  readonly exports: Readonly<Record<string, { readonly types?: string }>>
}

/** Everything that can be called, of every published entry. */
async function exported(): Promise<ReadonlyMap<string, Loose>> {
  const found = new Map<string, Loose>()
  for (const [entry, { types }] of Object.entries(published.exports)) {
    if (types === undefined || entry === './vitest') continue
    const path = types.replace('./dist/', '../../src/').replace('.d.ts', '.ts')
    const module = (await import(path)) as Readonly<Record<string, unknown>>
    for (const [name, value] of Object.entries(module))
      if (typeof value === 'function' && !/^class\b/.test(Function.prototype.toString.call(value)))
        found.set(`${entry.slice(2)}/${name}`.replace(/^\//, ''), value as Loose)
  }
  return found
}

const fn = (): void => {}
const publisher = { publish: fn }
const store = { claim: fn, renew: fn, complete: fn, release: fn, fail: fn }
const parkingStore = {
  park: fn,
  append: fn,
  claimLanes: fn,
  renewLanes: fn,
  load: fn,
  remove: fn,
  free: fn,
  reschedule: fn,
}
const outboxStore = { check: fn, attend: fn, claim: fn, leave: fn, rotate: fn, status: fn }
const pool = { query: fn, connect: fn }
const pipeline = { name: 'p', step: fn, stages: [] }
const schema = { '~standard': { version: 1, validate: fn } }
const codec = { name: 'c', decode: fn, encode: fn }
const registry = { registerMetric: fn, getSingleMetric: fn }
const logClient = { open: fn, offsetOf: fn, keyOf: fn, deliveryOf: fn, verdictOn: fn }
const queueClient = { open: fn, keyOf: fn, deliveryOf: fn }
const rhea = { create_session: fn, on: fn, removeListener: fn, is_open: fn }
const pulsar = { connectionFor: fn, partitionsOf: fn }
const kafka = { consumer: fn, admin: fn }
const replaying = { pipeline, from: new Date(), scope: 'same' }
const replayLog = { members: fn, states: fn, close: fn }

/** How a factory is called with options, and the least that it takes. */
const factories: Readonly<
  Record<string, readonly [call: (options: unknown, factory: Loose) => unknown, least: Options]>
> = {
  retry: [(o, f) => f(o), {}],
  timeout: [(o, f) => f(o), { afterMs: 5 }],
  idempotency: [(o, f) => f(o), { store }],
  deadLetter: [(o, f) => f(o), { to: publisher }],
  resilient: [(o, f) => f('orders', o), { codec, deadLetters: publisher, store, log: false }],
  json: [(o, f) => f(schema, o), {}],
  route: [(o, f) => f({}, o), {}],
  'parking/parking': [(o, f) => f(o), { store: parkingStore }],
  'parking/delayed': [(o, f) => f(o), { store: parkingStore }],
  'parking/parkingWorker': [(o, f) => f(o), { store: parkingStore, pipelines: [] }],
  'policies/retry': [(o, f) => f(o), {}],
  'policies/timeout': [(o, f) => f(o), { afterMs: 5 }],
  'policies/bulkhead': [(o, f) => f(o), { maxConcurrent: 1 }],
  'policies/circuitBreaker': [(o, f) => f(o), { name: 'api' }],
  'policies/exponential': [(o, f) => f(o), {}],
  'policies/retryBudget': [(o, f) => f(o), {}],
  'policies/rateLimit': [(o, f) => f(o), { perSecond: 1 }],
  'results/remember': [(o, f) => f(o), { store: { ...store, keepResult: fn, resultOf: fn } }],
  'cloudevents/cloudEvents': [(o, f) => f(codec, o), {}],
  'cloudevents/encodeCloudEvents': [(o, f) => f(codec, o), { source: '/a' }],
  'logs/logEvents': [(o, f) => (f(undefined, o) as () => void)(), {}],
  'health/storeHealth': [(o, f) => f('redis', o), {}],
  'health/deadLetterHealth': [(o, f) => f(o), {}],
  'metrics/metrics': [(o, f) => f(o), { registry }],
  'metrics/processMetrics': [(o, f) => f(o), { registry }],
  'tracing/tracing': [(o, f) => f(o), {}],
  'tracing/tracedBatch': [(o, f) => f(fn, o), {}],
  'tracing/tracedPublish': [(o, f) => f(o), {}],
  'tracing/tracedCreate': [(o, f) => f(o), {}],
  'tracing/tracedSettles': [(o, f) => (f(o) as () => void)(), {}],
  'tracing/otelMetrics': [(o, f) => f(o), {}],
  'tracing/otelProcessMetrics': [(o, f) => f(o), {}],
  'outbox/outboxRelay': [(o, f) => f(o), { store: outboxStore, publisher }],
  'outbox/sequence': [(o, f) => f(o), { store: { look: fn, advance: fn } }],
  'redis/redisIdempotencyStore': [(o, f) => f({ eval: fn, evalsha: fn, info: fn, wait: fn }, o), {}],
  'redis/redisCircuits': [(o, f) => f({ eval: fn, evalsha: fn }, o), {}],
  'redis/redisLimits': [(o, f) => f({ eval: fn, evalsha: fn }, o), {}],
  'postgres/postgresCircuits': [(o, f) => f(pool, o), {}],
  'postgres/postgresLimits': [(o, f) => f(pool, o), {}],
  'postgres/postgresOldestKey': [(o, f) => f(pool, o), {}],
  'postgres/postgresIdempotencyStore': [(o, f) => f(pool, o), {}],
  'postgres/postgresIdempotencyCleaner': [(o, f) => f(pool, o), {}],
  'postgres/postgresOutbox': [(o, f) => f(o), {}],
  'postgres/postgresOutboxStore': [(o, f) => f(pool, o), {}],
  'postgres/postgresOutboxDead': [(o, f) => f(pool, o), {}],
  'postgres/postgresOutboxDelayed': [(o, f) => f(o), {}],
  'postgres/postgresOutboxNotifier': [(o, f) => f(pool, o), {}],
  'postgres/postgresSequenceStore': [(o, f) => f(pool, o), {}],
  'postgres/postgresChecks': [(o, f) => f(pool, o), {}],
  'postgres/inTransaction': [(o, f) => f(o), { begin: fn, runnerOf: fn }],
  'postgres/transaction': [(o, f) => f({ connect: fn }, o), {}],
  'postgres/migrationPlan': [(o, f) => f(o), {}],
  'postgres/outboxGrants': [(o, f) => f(o), {}],
  'kafkajs/eachMessage': [(o, f) => f(pipeline, o), {}],
  'kafkajs/eachBatch': [(o, f) => f(pipeline, o), {}],
  'kafkajs/kafkajsPublisher': [(o, f) => f({ sendBatch: fn }, o), {}],
  'kafkajs/kafkajsConsumer': [(o, f) => f(o), { kafka, groupId: 'g', topics: ['t'], pipeline }],
  'memory/memoryBroker': [(o, f) => f(o), {}],
  'memory/memoryConsumer': [(o, f) => f(o), { broker: memoryBroker(), groupId: 'g', topics: ['t'], pipeline }],
  'memory/memoryIdempotencyStore': [(o, f) => f(o), {}],
  'memory/memoryOutboxStore': [(o, f) => f(o), {}],
  'memory/memoryOutbox': [(o, f) => f(o), {}],
  'consumer/logConsumer': [(o, f) => f(o), { client: logClient, group: 'g', pipeline }],
  'consumer/queueConsumer': [(o, f) => f(o), { client: queueClient, group: 'g', pipeline }],
  'amqp/amqpConsumer': [(o, f) => f(o), { connection: rhea, sources: [{ address: 'a' }], pipeline }],
  'amqp/amqpPublisher': [(o, f) => f(rhea, o), {}],
  'pulsar/pulsarClient': [(o, f) => f(o), { serviceUrl: 'pulsar://a' }],
  'pulsar/pulsarConsumer': [(o, f) => f(o), { client: pulsar, subscription: 's', topics: ['t'], pipeline }],
  'pulsar/pulsarPublisher': [(o, f) => f(pulsar, o), {}],
  'testing/fakeClock': [(o, f) => f(o), {}],
  'testing/watchDeliveries': [(o, f) => f(o), {}],
}

/** Asynchronous: they reject, instead of throwing. Each is refused before it calls anything. */
const asynchronous: typeof factories = {
  'postgres/migrate': [(o, f) => f(pool, o), {}],
  'postgres/adoptOutbox': [(o, f) => f(pool, o), {}],
  'postgres/changeOutboxShards': [(o, f) => f(pool, o), { shards: 4 }],
  'kafkajs/kafkajsReplay': [(o, f) => f(o), { kafka, groupId: 'g', topics: ['t'], ...replaying }],
  'memory/memoryReplay': [(o, f) => f(o), { broker: memoryBroker(), groupId: 'g', topics: ['t'], ...replaying }],
  'pulsar/pulsarReplay': [
    (o, f) => f(o),
    { client: pulsar, webUrl: 'http://a', subscription: 's', topics: ['t'], ...replaying },
  ],
  'consumer/replay': [(o, f) => f(replayLog, o), replaying],
  'kafkajs/kafkajsPromotion': [(o, f) => f(o), { kafka, groupId: 'g', secondGroupId: 'h', topics: ['t'] }],
  'memory/memoryPromotion': [
    (o, f) => f(o),
    { broker: memoryBroker(), groupId: 'g', secondGroupId: 'h', topics: ['t'] },
  ],
  'kafkajs/checkKafka': [(o, f) => f(o), { kafka, topics: ['t'] }],
}

/** Takes no options, takes them at another place that its own test covers, or is checked by the room that owns it. */
const others = new Set(
  `encode headerText headersFrom isAbandoned isFailedBefore isHoldfastError isPermanent isPublishError isRetryLater
  keyFromDigest keyFromHeader keyFromId keyOfParts on outgoing pipeline publisher staged subscribe
  postgres/drizzleTransaction postgres/inOneTransaction postgres/kyselyTransaction postgres/postgresjsTransaction
  postgres/postgresjsRunner postgres/preparedRunner postgres/viaDrizzle postgres/viaKnex
  postgres/viaKysely postgres/viaPostgresJs postgres/viaPrepared postgres/viaPrisma postgres/viaQuery
  postgres/migrationUndo postgres/postgresOutboxListener postgres/postgresDeadLetters  postgres/postgresOperatorStore
  policies/defaultRecovery policies/dependencyErrors policies/recovery policies/when
  health/health tracing/withoutTracing memory/memorySequenceStore
  amqp/queue amqp/subscription amqp/topic pulsar/pulsarPosition
  consumer/checkSettings consumer/promotion consumer/keyFromBytes consumer/positionId
  testing/chaos testing/expectResilient testing/explore testing/idempotencyStoreContract testing/parkingStoreContract testing/invariant testing/keyed
  testing/outboxStoreContract testing/publisherContract testing/resultStoreContract testing/simulate testing/transportContract`.split(
    /\s+/,
  ),
)
/** Young rooms: their own tests hold their options. Move them into the tables above. */
const ownTests =
  /^(dead-letters|operations|dashboard|rabbitmq|nats|encryption|platformatic-kafka|jetstream|confluent|contracts|flow|nest|fastify)\//

const all = await exported()
const sync = Object.entries(factories).map(([name, [call, least]]) => ({ name, call, least }))

function refusal(call: () => unknown): string {
  try {
    call()
  } catch (error) {
    if (isHoldfastError(error) && error.code === 'bad-option') return error.message
    return `threw ${String(error)}`
  }
  return 'was built'
}

describe('every public factory checks its options', () => {
  it('all that is exported is in a list of this file', () => {
    const listed = (name: string): boolean =>
      name in factories || name in asynchronous || others.has(name) || ownTests.test(name)
    expect([...all.keys()].filter((name) => !listed(name))).toEqual([])
    const gone = [...Object.keys(factories), ...Object.keys(asynchronous)].filter((name) => !all.has(name))
    expect(gone).toEqual([])
  })

  it.each(sync)('$name', ({ name, call, least }) => {
    const factory = all.get(name) ?? expect.fail(`${name} is not exported`)
    const said = (options: unknown): string => refusal(() => call(options, factory))
    const where = name.split('/').at(-1) ?? ''
    expect(said(null)).toMatch(/: options must be an object, got null$/)
    expect(said(5)).toMatch(/: options must be an object, got 5$/)
    const unknown = said({ ...least, zzzzzzzzzzzz: 1 })
    expect(unknown).toMatch(/: unknown option 'zzzzzzzzzzzz'\. It takes /)
    const names = unknown.slice(unknown.indexOf('It takes ') + 9, -1).split(', ')
    // A typing error is told with the name that was meant.
    const [some = ''] = names
    expect(said({ ...least, [`${some}x`]: 1 }), where).toContain(`Did you mean '${some}'?`)
    for (const [option] of Object.entries(least)) {
      const { [option]: _, ...without } = least
      if (option !== 'log') expect(said(without)).toMatch(new RegExp(`: ${option} must be .*, got undefined$`))
    }
    // Its parts are handed to the stages, whose own names stand in their refusals.
    const says = name === 'resilient' ? ' must be ' : undefined
    for (const option of names)
      for (const wrong of [Symbol('wrong'), null])
        expect(said({ ...least, [option]: wrong }), option).toContain(says ?? `: ${option} must be `)
  })

  it.each(Object.entries(asynchronous).map(([name, [call, least]]) => ({ name, call, least })))(
    '$name rejects',
    async ({ name, call, least }) => {
      const factory = all.get(name) ?? expect.fail(`${name} is not exported`)
      const said = (options: unknown): Promise<unknown> => Promise.resolve(call(options, factory))
      await expect(said(null)).rejects.toMatchObject({ code: 'bad-option' })
      await expect(said({ ...least, zzzzzzzzzzzz: 1 })).rejects.toMatchObject({ code: 'bad-option' })
    },
  )

  it.each(
    [...all.keys()].filter((name) =>
      /postgres.(postgres(Id|OutboxS|OutboxDead|OutboxN|Seq|Dead|Ch|Op)|migrate$|adopt|transaction)/.test(name),
    ),
  )('%s refuses what is no pool', async (name) => {
    const factory = all.get(name) ?? expect.fail(`${name} is not exported`)
    const build = async (): Promise<unknown> => factory(undefined, {})
    await expect(build()).rejects.toMatchObject({
      code: 'bad-option',
      message: expect.stringContaining('pool must be') as unknown,
    })
  })
})
