/** One process that publishes letters to Kafka: it is killed at any time. */
import { Kafka, logLevel } from 'kafkajs'
import pg from 'pg'
import { redriveWorker } from '../../../src/dead-letter/index.ts'
import { postgresDeadLetters } from '../../../src/stores/postgres/index.ts'
import { kafkajsPublisher } from '../../../src/transports/kafkajs/index.ts'

const [url = '', brokers = '', schema = '', leaseMs = '3000'] = process.argv.slice(2)
const pool = new pg.Pool({ connectionString: url, max: 3 })
pool.on('error', () => {})
const kafka = new Kafka({ brokers: brokers.split(','), logLevel: logLevel.NOTHING })
const producer = kafka.producer({ idempotent: true })
await producer.connect()
const stop = new AbortController()
process.on('SIGTERM', () => stop.abort())
await redriveWorker({
  store: postgresDeadLetters(pool, { schema }),
  pipelines: [],
  publisher: kafkajsPublisher(producer),
  leaseMs: Number(leaseMs),
  pollMs: 50,
}).run(stop.signal)
await producer.disconnect()
await pool.end()
