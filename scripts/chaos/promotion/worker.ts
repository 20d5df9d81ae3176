import { setTimeout as sleep } from 'node:timers/promises'
import kafkajs from 'kafkajs'
import pg from 'pg'
import { pipeline } from '../../../src/core/pipeline.ts'
import { replay, sideEffect } from '../../../src/flow/index.ts'
import { kafkajsConsumer } from '../../../src/transports/kafkajs/index.ts'
import { tellChanges } from '../brokers/problems.ts'
import type { VersionSettings } from './settings.ts'

/** One member of one version of the service. Its effects are calls of an API that refuses a key which it has seen. */
const settings = JSON.parse(process.argv[2] ?? '{}') as VersionSettings
const { brokers, topic, groupId, name, until, postgresUrl, schema, handlerMs } = settings
tellChanges()
const pool = new pg.Pool({ connectionString: postgresUrl, max: 8 })
pool.on('error', () => {})
const kafka = new kafkajs.Kafka({ brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING, retry: { retries: 12 } })

const orders = pipeline(name)
  .use(replay({ until }))
  .handle(async (delivery) => {
    const { id } = delivery.message
    await sleep(handlerMs)
    await sideEffect(delivery, 'charge', (key) =>
      pool.query(
        `insert into ${schema}.charges (key, id, by) values ($1, $2, $3) on conflict (key) do update set calls = charges.calls + 1`,
        [key, id, name],
      ),
    )
    if (name.endsWith('@v2')) await pool.query(`insert into ${schema}.model values ($1) on conflict do nothing`, [id])
  })

const leaving = new AbortController()
process.once('SIGTERM', () => leaving.abort(new Error('SIGTERM')))
console.log('ready')
await kafkajsConsumer({
  ...{ kafka, groupId, topics: [topic], pipeline: orders, concurrency: 8, commitEveryMs: 100 },
  // A member that was killed is forgotten soon.
  ...{ sessionMs: 6_000, heartbeatMs: 500, rebalanceMs: 10_000, drainMs: 5_000 },
}).run(leaving.signal)
await pool.end()
process.exit(0)
