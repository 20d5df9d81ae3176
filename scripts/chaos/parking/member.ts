/** One process of the ledger: a consumer of the topic, or a parking worker. */
import { setTimeout as sleep } from 'node:timers/promises'
import amqp from 'amqplib'
import kafkajs from 'kafkajs'
import pg from 'pg'
import { deadLetter } from '../../../src/dead-letter/dead-letter.ts'
import type { Delivery } from '../../../src/core/delivery.ts'
import { PermanentError } from '../../../src/core/errors.ts'
import { subscribe } from '../../../src/core/events.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { parking } from '../../../src/ordering/parking/parking.ts'
import { parkingWorker } from '../../../src/ordering/parking/worker.ts'
import { otherwise, recovery, when } from '../../../src/retry/recovery.ts'
import { retry } from '../../../src/retry/retry.ts'
import { postgresIdempotencyStore, transaction } from '../../../src/stores/postgres/index.ts'
import { generationOf } from '../../../src/core/redrive.ts'
import { rabbitmqConsumer } from '../../../src/transports/rabbitmq/index.ts'
import { kafkajsConsumer } from '../../../src/transports/kafkajs/index.ts'
import { brokenStore } from './broken-store.ts'
import { queuesOf } from './broker.ts'
import type { MemberSettings } from './settings.ts'

const settings = JSON.parse(process.argv[2] ?? '') as MemberSettings
const { name, role, concurrency, leaseMs, cap, whenDead, handlerMs, broken } = settings

const open = (max: number) => {
  const pool = new pg.Pool({ connectionString: settings.postgres, max })
  pool.on('error', () => {})
  return pool
}
const [claims, work] = [open(4), open(concurrency)]
const store = brokenStore(postgresIdempotencyStore(claims, { schema: name }), broken, claims, name)

class Later extends Error {}

const dead = {
  async publish(all: readonly { readonly id: string }[]) {
    for (const { id } of all) await claims.query(`insert into ${name}.dead (id, by) values ($1, $2)`, [id, role])
  },
}

async function handle({ message, parked, tx }: Delivery & { readonly tx: pg.PoolClient }): Promise<void> {
  const [n, fate, until] = Buffer.from(message.body as Uint8Array)
    .toString()
    .split(',')
  if (handlerMs > 0) await sleep(handlerMs)
  if (fate === 'mended' && generationOf(message.headers) === 0) throw new PermanentError('not mended yet')
  if (fate === 'dead') throw new PermanentError('for good')
  if (fate === 'flaky' && Date.now() < Number(until)) throw new Later('down')
  const by = parked === undefined ? 'consumer' : 'worker'
  await tx.query(`insert into ${name}.effect (id, key, n, by) values ($1, $2, $3, $4)`, [
    message.id,
    message.key,
    Number(n),
    by,
  ])
}

// A session that ends counts as an attempt of its message.
const maxAttempts = settings.restarts > 0 || settings.failover ? 50 : 3
const recoveries = recovery(when(Later).after(2_000), otherwise.retry())
const outside = pipeline(name).use(deadLetter({ to: dead }))
const parks = parking({ store, parkAfterMs: 500, whenDead, maxPerKey: cap })
const orders = (settings.park ? outside.use(parks) : outside)
  .use(idempotency({ store, leaseMs }))
  .use(retry({ maxAttempts, backoff: () => 20, recovery: recoveries }))
  .use(transaction<pg.PoolClient>(work))
  .handle(handle)

const counts: Record<string, number> = {}
const count = (what: string): void => void (counts[what] = (counts[what] ?? 0) + 1)
subscribe('settled', ({ outcome }) => count(outcome))
subscribe('nacked', ({ error }) =>
  count(
    `nacked: ${String((error as Error).message)
      .replaceAll(/m?\d+|'.*?'/g, '…')
      .slice(0, 60)}`,
  ),
)
subscribe('store-failed', ({ operation, error }) =>
  count(`store: ${operation} ${String((error as Error).message).slice(0, 60)}`),
)
subscribe('lane-changed', ({ change }) => count(`lane ${change}`))

const leaving = new AbortController()
process.once('SIGTERM', () => leaving.abort(new Error('SIGTERM')))
const told = setInterval(() => process.send?.(counts), 500)
if (role === 'worker')
  await parkingWorker({
    store,
    pipelines: [orders],
    concurrency,
    leaseMs,
    pollMs: 100,
    pageSize: 20,
    drainMs: 2_000,
  }).run(leaving.signal)
else if (settings.address.kind === 'kafka') await fromKafka()
else await fromRabbitmq()
clearInterval(told)
process.send?.(counts)
await Promise.all([claims.end(), work.end()])
process.disconnect()

async function fromKafka(): Promise<void> {
  const kafka = new kafkajs.Kafka({ brokers: settings.address.url.split(','), logLevel: kafkajs.logLevel.NOTHING })
  const timing = { sessionMs: 6_000, heartbeatMs: 500, rebalanceMs: 12_000, drainMs: 3_000, commitEveryMs: 100 }
  const consumer = kafkajsConsumer({ kafka, groupId: name, topics: [name], pipeline: orders, concurrency, ...timing })
  await consumer.run(leaving.signal)
}

/** The broker gives the queues of a process that stands still to another after two silent heartbeats. */
async function fromRabbitmq(): Promise<void> {
  const connection = await amqp.connect(`${settings.address.url}?heartbeat=2`, {
    recovery: { initialDelay: 100, maxDelay: 1_000 },
  })
  connection.on('error', () => {})
  const consumer = rabbitmqConsumer({
    ...{ connection, queues: queuesOf(name), group: name, pipeline: orders, concurrency },
    ...{ prefetch: 64, redeliverMs: 50, drainMs: 3_000 },
  })
  await consumer.run(leaving.signal)
  await Promise.race([connection.close().catch(() => {}), sleep(1_000)])
}
