import { describe, expect, it } from 'vitest'
import * as holdfast from '../../src/index.ts'
import { isHoldfastError } from '../../src/index.ts'
import * as kafkajs from '../../src/transports/kafkajs/index.ts'
import * as cloudevents from '../../src/codecs/cloudevents.ts'
import * as logs from '../../src/logs/logs.ts'
import * as policies from '../../src/retry/index.ts'
import * as outbox from '../../src/outbox/index.ts'
import * as memory from '../../src/transports/memory/index.ts'
import * as metrics from '../../src/metrics/index.ts'
import * as postgres from '../../src/stores/postgres/index.ts'
import * as redis from '../../src/stores/redis/index.ts'
import * as tracing from '../../src/tracing/index.ts'

/** As JavaScript calls it: no compiler looks at the arguments. */
type Loose = (...args: unknown[]) => unknown

type Rooms = Readonly<Record<string, Readonly<Record<string, unknown>>>>
const rooms: Rooms = {
  holdfast,
  policies,
  logs,
  cloudevents,
  outbox,
  postgres,
  redis,
  kafkajs,
  memory,
  metrics,
  tracing,
}

const publish = (): Promise<void> => Promise.resolve()
const to = { publish }
const store = memory.memoryIdempotencyStore()
const schema = { '~standard': { version: 1, validate: (value: unknown) => ({ value }) } }
const codec = holdfast.json(schema as holdfast.Schema)
const stack = { codec, deadLetters: to, store, log: false }
const built = holdfast.pipeline('orders').handle(() => {})
const broker = memory.memoryBroker()
const outboxStore = memory.memoryOutboxStore()
const managed = { kafka: { consumer: () => {}, admin: () => {} }, groupId: 'g', topics: ['t'], pipeline: built }
const consumer = { broker, groupId: 'g', topics: ['t'], pipeline: built }

/** Factory, its arguments, what the message must name: the option, and the value that was given. */
const mistakes: readonly (readonly [
  room: string,
  factory: string,
  args: readonly unknown[],
  says: readonly string[],
])[] = [
  ['holdfast', 'pipeline', [''], ['name', "''"]],
  ['holdfast', 'pipeline', [undefined], ['name', 'undefined']],
  ['policies', 'circuitBreaker', [{}], ['name', 'undefined']],
  ['policies', 'bulkhead', [{}], ['maxConcurrent', 'undefined']],
  ['holdfast', 'timeout', [{}], ['afterMs', 'undefined']],
  ['holdfast', 'keyFromHeader', [], ['name', 'undefined']],
  ['holdfast', 'resilient', ['orders', { ...stack, codec: undefined }], ['codec', 'undefined']],
  ['holdfast', 'resilient', ['orders', { ...stack, deadLetters: 'topic' }], ['deadLetters', "'topic'"]],
  ['holdfast', 'resilient', ['orders', { ...stack, store: {} }], ['store', 'an object']],
  ['holdfast', 'resilient', ['orders', { ...stack, outside: 'tracing' }], ['outside', "'tracing'"]],
  ['holdfast', 'resilient', ['orders', { ...stack, outside: [undefined] }], ['middleware', 'undefined']],
  ['holdfast', 'resilient', ['orders', { ...stack, scope: 5 }], ['scope', '5']],
  ['holdfast', 'resilient', ['orders', { ...stack, key: 'id' }], ['key', "'id'"]],
  ['holdfast', 'resilient', ['orders', { ...stack, maxAttempts: 0 }], ['maxAttempts', '0']],
  ['holdfast', 'resilient', ['orders', { ...stack, timeoutMs: '10s' }], ['timeoutMs', "'10s'"]],
  ['holdfast', 'resilient', ['orders', { ...stack, log: 'debug' }], ['log', "'debug'"]],
  ['holdfast', 'idempotency', [{ store: undefined }], ['store', 'undefined']],
  ['holdfast', 'idempotency', [{ store, key: 'id' }], ['key', "'id'"]],
  ['holdfast', 'idempotency', [{ store, scope: '' }], ['scope', "''"]],
  ['holdfast', 'idempotency', [{ store, scope: null }], ['scope', 'null']],
  ['holdfast', 'idempotency', [{ store, fingerprint: 'body' }], ['fingerprint', "'body'"]],
  ['holdfast', 'idempotency', [{ store, leaseMs: 0 }], ['leaseMs', '0']],
  ['holdfast', 'idempotency', [{ store, retainMs: 5 }], ['retainMs', '5']],
  ['holdfast', 'idempotency', [{ store, onStoreError: 'ignore' }], ['onStoreError', "'ignore'"]],
  ['holdfast', 'idempotency', [{ store, mode: 'dry-run' }], ['mode', "'dry-run'"]],
  ['holdfast', 'keyFromHeader', [''], ['name', "''"]],
  ['holdfast', 'retry', [{ maxAttempts: -1 }], ['maxAttempts', '-1']],
  ['holdfast', 'retry', [{ sleepUpToMs: NaN }], ['sleepUpToMs', 'NaN']],
  ['holdfast', 'retry', [{ recovery: {} }], ['recovery', 'an object']],
  ['holdfast', 'retry', [{ budget: 5 }], ['budget', '5']],
  ['holdfast', 'retry', [{ backoff: { initialMs: -1 } }], ['initialMs', '-1']],
  ['policies', 'exponential', [{ maxMs: Infinity }], ['maxMs', 'Infinity']],
  ['policies', 'exponential', [{ initialMs: 200, maxMs: 100 }], ['initialMs', '200']],
  ['policies', 'exponential', [{ initialMs: 60_000 }], ['initialMs', '60000']],
  ['holdfast', 'retry', [{ backoff: { initialMs: 200, maxMs: 100 } }], ['initialMs', '200']],
  ['policies', 'exponential', [{ jitter: 'some' }], ['jitter', "'some'"]],
  ['policies', 'exponential', [{ random: 4 }], ['random', '4']],
  ['policies', 'retryBudget', [{ ratio: -1 }], ['ratio', '-1']],
  ['policies', 'retryBudget', [{ tokensPerSecond: 0 }], ['tokensPerSecond', '0']],
  ['policies', 'retryBudget', [{ maxTokens: 0 }], ['maxTokens', '0']],
  ['policies', 'retryBudget', [{ name: '' }], ['name', "''"]],
  ['policies', 'circuitBreaker', [{ name: '' }], ['name', "''"]],
  ['policies', 'circuitBreaker', [{ name: 'api', openAfter: 0 }], ['openAfter', '0']],
  ['policies', 'circuitBreaker', [{ name: 'api', openMs: 0 }], ['openMs', '0']],
  ['policies', 'circuitBreaker', [{ name: 'api', maxOpenMs: 10 }], ['maxOpenMs', '10']],
  ['policies', 'circuitBreaker', [{ name: 'api', probeTimeoutMs: '1' }], ['probeTimeoutMs', "'1'"]],
  ['policies', 'circuitBreaker', [{ name: 'api', looksDown: true }], ['looksDown', 'true']],
  ['policies', 'circuitBreaker', [{ name: 'api', maxRamp: 0.5 }], ['maxRamp', '0.5']],
  ['policies', 'circuitBreaker', [{ name: 'api', observe: 'yes' }], ['observe', "'yes'"]],
  ['policies', 'bulkhead', [{ maxConcurrent: 0 }], ['maxConcurrent', '0']],
  ['policies', 'bulkhead', [{ maxConcurrent: 1, maxQueued: -1 }], ['maxQueued', '-1']],
  ['holdfast', 'timeout', [{ afterMs: 0 }], ['afterMs', '0']],
  ['holdfast', 'timeout', [{ afterMs: 1, abandonAfterMs: -5 }], ['abandonAfterMs', '-5']],
  ['policies', 'recovery', ['retry'], ['rule', "'retry'"]],
  ['policies', 'when', ['Error'], ['test', "'Error'"]],
  ['holdfast', 'deadLetter', [{ to: undefined }], ['to', 'undefined']],
  ['holdfast', 'deadLetter', [{ to, destination: '' }], ['destination', "''"]],
  ['holdfast', 'deadLetter', [{ to, destination: 5 }], ['destination', '5']],
  ['holdfast', 'deadLetter', [{ to, redact: 'all' }], ['redact', "'all'"]],
  ['holdfast', 'deadLetter', [{ to, maxMetadataBytes: 1 }], ['maxMetadataBytes', '1']],
  ['holdfast', 'deadLetter', [{ to, shouldDeadLetter: 1 }], ['shouldDeadLetter', '1']],
  ['holdfast', 'json', [undefined], ['schema', 'undefined']],
  ['holdfast', 'json', [{ type: 'object' }], ['schema', 'an object']],
  ['holdfast', 'json', [schema, { maxBytes: 0 }], ['maxBytes', '0']],
  ['holdfast', 'json', [schema, { maxDepth: 0 }], ['maxDepth', '0']],
  ['cloudevents', 'cloudEvents', [undefined], ['data', 'undefined']],
  ['cloudevents', 'cloudEvents', [codec, { maxBytes: 'all' }], ['maxBytes', "'all'"]],
  ['cloudevents', 'encodeCloudEvents', [undefined, { source: '/a' }], ['data', 'undefined']],
  ['cloudevents', 'encodeCloudEvents', [codec, { source: '' }], ['source', "''"]],
  ['cloudevents', 'encodeCloudEvents', [codec, { source: '/a', mode: 'xml' }], ['mode', "'xml'"]],
  ['holdfast', 'encode', [undefined], ['codec', 'undefined']],
  ['holdfast', 'route', [undefined], ['table', 'undefined']],
  ['holdfast', 'route', [{ 'order.placed': undefined }], ['order.placed', 'undefined']],
  ['holdfast', 'route', [{}, { otherwise: 'skip' }], ['otherwise', "'skip'"]],
  ['holdfast', 'on', [undefined, () => {}], ['codec', 'undefined']],
  ['holdfast', 'on', [codec, undefined], ['handler', 'undefined']],
  ['holdfast', 'outgoing', [{ destination: '' }], ['destination', "''"]],
  ['holdfast', 'publisher', [undefined], ['wire', 'undefined']],
  ['logs', 'logEvents', ['console'], ['logger', "'console'"]],
  ['logs', 'logEvents', [undefined, { events: ['nack'] }], ['events', "'nack'"]],
  ['outbox', 'outboxRelay', [{}], ['store', 'undefined']],
  ['outbox', 'outboxRelay', [{ store: outboxStore, publisher: to, leaseMs: 1 }], ['leaseMs', '1']],
  ['postgres', 'postgresIdempotencyStore', [undefined], ['pool', 'undefined']],
  ['postgres', 'transaction', [undefined], ['pool', 'undefined']],
  ['kafkajs', 'kafkajsPublisher', [undefined], ['producer', 'undefined']],
  ['kafkajs', 'kafkajsPublisher', [{ sendBatch: publish }, { acks: 0 }], ['acks', '0']],
  ['kafkajs', 'eachMessage', [undefined], ['pipeline', 'undefined']],
  ['kafkajs', 'eachMessage', [built, { redeliverMs: 0 }], ['redeliverMs', '0']],
  ['kafkajs', 'eachMessage', [built, { sessionMs: 500 }], ['sessionMs', '500']],
  ['kafkajs', 'eachBatch', [undefined], ['pipeline', 'undefined']],
  ['kafkajs', 'eachBatch', [built, { concurrency: 0 }], ['concurrency', '0']],
  ['kafkajs', 'eachBatch', [built, { sessionMs: 2_999 }], ['sessionMs', '2999']],
  ['kafkajs', 'kafkajsConsumer', [{ ...managed, buffer: 20 }], ['buffer', '20']],
  ['kafkajs', 'kafkajsConsumer', [{ ...managed, ahead: 2000 }], ['buffer', '1000']],
  ['memory', 'memoryIdempotencyStore', [{ maxKeys: 0 }], ['maxKeys', '0']],
  ['memory', 'memoryBroker', [{ partitions: 0 }], ['partitions', '0']],
  ['memory', 'memoryBroker', [{ faults: { duplicates: 2 } }], ['duplicates', '2']],
  ['memory', 'memoryConsumer', [{ ...consumer, groupId: '' }], ['groupId', "''"]],
  ['memory', 'memoryConsumer', [{ ...consumer, topics: [] }], ['topics', 'an array']],
  ['memory', 'memoryConsumer', [{ ...consumer, pipeline: {} }], ['pipeline', 'an object']],
  ['metrics', 'metrics', [{ registry: 'default' }], ['registry', "'default'"]],
  ['tracing', 'tracing', [{ baggage: 'tenant' }], ['baggage', "'tenant'"]],
]

function mistake(room: string, factory: string, args: readonly unknown[]): unknown {
  const found = rooms[room]?.[factory]
  if (typeof found !== 'function') return expect.fail(`${room} has no ${factory}()`)
  try {
    ;(found as Loose)(...args)
  } catch (error) {
    return error
  }
  return 'it was built'
}

describe('a wrong option fails when the pipeline is built, and is named with its value', () => {
  it.each(mistakes.map(([room, factory, args, says]) => ({ room, factory, args, says, what: says.join(' ') })))(
    '$room $factory: $what',
    ({ room, factory, args, says }) => {
      const error = mistake(room, factory, args)
      if (!isHoldfastError(error)) return expect.fail(String(error))
      expect(error.code).toBe('bad-option')
      const [option = '', value = ''] = says
      expect(error.message).toContain(option)
      expect(error.message.slice(error.message.indexOf('got ') + 4)).toContain(value)
    },
  )
})

describe('a pipeline refuses, when it is built,', () => {
  const begun = holdfast.pipeline('orders')
  const use = begun.use as Loose
  const said = (build: () => unknown): string => {
    try {
      build()
    } catch (error) {
      if (isHoldfastError(error) && error.code === 'bad-option') return error.message
      throw error
    }
    return 'it was built'
  }

  it('what is no middleware, no codec and no handler', () => {
    expect(said(() => use({}))).toBe('use: middleware must be a function, got an object')
    expect(said(() => (begun.decode as Loose)(undefined))).toBe(
      'decode: codec must be an object with decode(), got undefined',
    )
    expect(said(() => (begun.handle as Loose)(undefined))).toBe('handle: handler must be a function, got undefined')
    expect(said(() => (begun.handleBatch as Loose)({ maxSize: 1 }, {}))).toBe(
      'handleBatch: handler must be a function, got an object',
    )
    expect(said(() => (begun.handleBatch as Loose)({}, () => {}))).toContain(
      'maxSize must be an integer of at least 1, got undefined',
    )
    expect(said(() => begun.handleBatch({ maxSize: 0 }, async () => {}))).toContain('maxSize must be')
    expect(said(() => begun.handleBatch({ maxSize: 1, maxWaitMs: -1 }, async () => {}))).toContain('got -1')
  })

  it.each(['retry', 'bulkhead', 'timeout', 'circuitBreaker', 'deadLetter', 'idempotency'] as const)(
    'a factory that was not called: %s, which would ack every message unseen',
    (factory) => {
      const building = use({ ...holdfast, ...policies }[factory]) as { handle: Loose }
      expect(said(() => building.handle(() => {}))).toMatch(/got /)
    },
  )

  it('a middleware that returns no step', () => {
    const building = use(() => 'handled') as { handle: Loose }
    expect(said(() => building.handle(() => {}))).toContain("got 'handled'")
  })
})
