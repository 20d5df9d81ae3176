// One relay in a process of its own, started by main.ts.
import { createConnection } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import kafkajs from 'kafkajs'
import pg from 'pg'
import type { Publisher } from '../../../src/core/publisher.ts'
import { plant } from './breaks.ts'
import type { RelaySettings } from './settings.ts'

const settings = JSON.parse(process.env['CHAOS_RELAY'] ?? '{}') as RelaySettings
plant(settings.planted)
const { outboxRelay } = await import('../../../src/outbox/relay.ts')
const { postgresOutboxStore } = await import('../../../src/stores/postgres/outbox/store.ts')
const { kafkajsPublisher } = await import('../../../src/transports/kafkajs/publisher.ts')
const { subscribe } = await import('../../../src/core/events.ts')
const { brokenStore } = await import('./broken-store.ts')

const pool = new pg.Pool({ connectionString: settings.postgresUrl, max: 8 })
pool.on('error', () => {})

/** Slow on purpose, so that kills and takeovers happen inside windows. */
function slow(wire: Publisher): Publisher {
  return {
    async publish(messages, options) {
      await sleep(Math.random() * settings.slowMs)
      await wire.publish(messages, options)
      await sleep(Math.random() * settings.slowMs)
    },
  }
}

async function kafkaWire(brokers: readonly string[]): Promise<Publisher> {
  const kafka = new kafkajs.Kafka({ brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING })
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  // It may come up while the broker is away.
  const connected = () =>
    producer.connect().then(
      () => true,
      () => false,
    )
  while (!(await connected())) await sleep(500)
  return kafkajsPublisher(producer)
}

/** A line for each batch to the process that started us, and a line back for each confirmation. */
function socketWire(port: number): Publisher {
  const socket = createConnection(port, '127.0.0.1')
  const waiting = new Map<number, () => void>()
  let last = 0
  socket.on('error', () => process.exit(1))
  socket.on('close', () => process.exit(1))
  const lines = createInterface(socket)
  lines.on('error', () => process.exit(1))
  lines.on('line', (line) => {
    waiting.get(Number(line))?.()
    waiting.delete(Number(line))
  })
  return {
    publish: (messages) =>
      new Promise((resolve) => {
        waiting.set(++last, resolve)
        socket.write(`${JSON.stringify([last, messages.map(({ key, id }) => [key, id])])}\n`)
      }),
  }
}

const wire = settings.brokers === null ? socketWire(settings.port) : await kafkaWire(settings.brokers)
const store = brokenStore(
  postgresOutboxStore(pool, { schema: settings.schema }),
  pool,
  settings.schema,
  settings.planted,
)
const counts = { claimed: 0, lost: 0, failed: 0, cleaned: 0, blocked: 0 }
subscribe('outbox-shard-changed', ({ change }) => {
  if (change !== 'released') counts[change]++
})
subscribe('outbox-rotated', ({ result }) => {
  if (result === 'cleaned') counts.cleaned++
  if (result === 'busy' || result === 'locked') counts.blocked++
})
setInterval(() => console.log(JSON.stringify(counts)), 200).unref()

const stop = new AbortController()
process.on('SIGTERM', () => stop.abort())
await outboxRelay({
  ...{ store, publisher: slow(wire), batchRows: settings.batchRows, leaseMs: settings.leaseMs, rotateEveryMs: 300 },
  ...{ minRetryMs: 20, maxRetryMs: 500, publishTimeoutMs: 5000 },
}).run(stop.signal)
console.log(JSON.stringify(counts))
process.exit(0)
