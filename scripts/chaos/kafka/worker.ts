import kafkajs from 'kafkajs'
import pg from 'pg'
import { deadLetter } from '../../../src/dead-letter/dead-letter.ts'
import type { Delivery, Middleware } from '../../../src/core/delivery.ts'
import { PermanentError } from '../../../src/core/errors.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { firstHeader } from '../../../src/core/message.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { retry } from '../../../src/retry/retry.ts'
import { postgresIdempotencyStore, transaction } from '../../../src/stores/postgres/index.ts'
import { kafkajsConsumer, kafkajsPublisher } from '../../../src/transports/kafkajs/index.ts'

/** What a message makes its handler do, by its header `does`; nothing is an effect. */
export type Does = 'throw' | 'refuse' | 'kill'

export interface WorkerSettings {
  readonly brokers: readonly string[]
  readonly topic: string
  readonly deadLetters: string
  readonly postgresUrl: string
  readonly schema: string
  readonly maxAttempts: number
  /** The wait before every retry. */
  readonly backoffMs: number
  /** Every handler throws, for every message. */
  readonly failing: boolean
  /** Claims first deliveries inside the transaction of the handler. */
  readonly inside?: {
    readonly ahead: number
    /** Every delivery is called the first. */
    readonly everyIsFirst: boolean
  }
}

const concurrency = 8

/** One consumer process that notes every call of its handler in a table. It ends in good order on SIGTERM. */
const settings = JSON.parse(process.argv[2] ?? '{}') as WorkerSettings
const { brokers, topic, deadLetters, postgresUrl, schema, maxAttempts, backoffMs, failing, inside } = settings

const claims = new pg.Pool({ connectionString: postgresUrl, max: 4 })
const work = new pg.Pool({ connectionString: postgresUrl, max: concurrency })
for (const pool of [claims, work]) pool.on('error', () => {})
const kafka = new kafkajs.Kafka({ brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING })
const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
await producer.connect()

async function handle({
  message,
  attempt,
  first = false,
  tx,
}: Delivery & { readonly tx: pg.PoolClient }): Promise<void> {
  // Not in the transaction: it has to outlive what comes.
  await claims.query(`insert into ${schema}.calls (id, pid, first) values ($1, $2, $3)`, [
    message.id,
    process.pid,
    first,
  ])
  console.log(`called ${message.id} ${attempt}`)
  const does = failing ? 'throw' : firstHeader(message.headers, ['does'])
  if (does === 'throw') throw new Error('the dependency is down')
  if (does === 'refuse') throw new PermanentError('never')
  if (does === 'kill') process.kill(process.pid, 'SIGKILL')
  await tx.query(`insert into ${schema}.effects (id, key, n, pid) values ($1, $2, $3, $4)`, [
    message.id,
    message.key,
    Number(message.id.slice(1)),
    process.pid,
  ])
}

const called: Middleware = (next) =>
  inside?.everyIsFirst === true ? (delivery) => next({ ...delivery, first: true }) : next
const store = postgresIdempotencyStore(claims, { schema, inside: inside !== undefined })
const orders = pipeline(topic)
  .use(called)
  .use(deadLetter({ to: kafkajsPublisher(producer), destination: deadLetters }))
  .use(idempotency({ store, leaseMs: 1000, claim: inside === undefined ? 'outside' : 'inside' }))
  .use(retry({ maxAttempts, backoff: () => backoffMs, sleepUpToMs: backoffMs }))
  .use(transaction<pg.PoolClient>(work))
  .handle(handle)

const leaving = new AbortController()
process.once('SIGTERM', () => leaving.abort(new Error('SIGTERM')))
await kafkajsConsumer({
  ...{ kafka, groupId: topic, topics: [topic], pipeline: orders, concurrency },
  ...{ sessionMs: 1500, heartbeatMs: 300, rebalanceMs: 6000, drainMs: 2000, commitEveryMs: 50 },
  ...(inside !== undefined && { ahead: inside.ahead }),
}).run(leaving.signal)
await producer.disconnect()
await Promise.all([claims.end(), work.end()])
console.log('ended')
