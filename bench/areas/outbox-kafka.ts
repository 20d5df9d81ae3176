import { kafkajsPublisher } from 'holdfast/kafkajs'
import kafkajs from 'kafkajs'
import { up } from '../../scripts/services/manager.ts'
import { serviceNamed } from '../../scripts/services/table.ts'
import type { Row } from '../measure.ts'
import { drained, perSecond, type OutboxServer } from './outbox-server.ts'
import { duel } from './outbox-rounds.ts'

const rows = 30_000
const bytes = 1000
const batch = 500
const topic = 'holdfast-bench'

export async function* kafkaRows(server: OutboxServer, rounds: number): AsyncIterable<Row> {
  const { url } = await up(serviceNamed('kafka'), (line) => console.error(line))
  const client = new kafkajs.Kafka({ brokers: url.split(','), logLevel: kafkajs.logLevel.NOTHING })
  const admin = client.admin()
  await admin.connect()
  await admin.deleteTopics({ topics: [topic] }).catch(() => {})
  await admin.createTopics({ topics: [{ topic, numPartitions: 6 }] })
  const producer = client.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  const value = Buffer.alloc(bytes)
  // What travels from the outbox travels here: the same headers, keys and batches.
  const message = (n: number): kafkajs.Message => ({
    key: `k${n % 1000}`,
    value,
    headers: {
      'outbox-id': `00000000-0000-0000-0000-000000000000/1/${n}`,
      'message-id': String(n),
      'message-type': 't',
      'message-time': String(Date.now()),
    },
  })
  try {
    yield await duel(
      {
        name: '30,000 × 1 KB to Kafka',
        ours: {
          name: 'holdfast',
          async measure() {
            await server.empty()
            await server.fill(rows, bytes)
            return drained(server, rows, kafkajsPublisher(producer))
          },
        },
        beside: {
          name: 'a raw kafkajs producer in a loop, 500 at a time',
          async measure() {
            const startedMs = performance.now()
            for (let from = 0; from < rows; from += batch)
              await producer.send({ topic, messages: Array.from({ length: batch }, (_, n) => message(from + n)) })
            return perSecond(rows, startedMs)
          },
        },
        target: { speed: 0.8 },
      },
      rounds,
    )
  } finally {
    await producer.disconnect()
    await admin.deleteTopics({ topics: [topic] })
    await admin.disconnect()
  }
}
