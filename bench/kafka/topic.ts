import { randomBytes } from 'node:crypto'
import kafkajs from 'kafkajs'
import { up } from '../../scripts/services/manager.ts'
import { serviceNamed } from '../../scripts/services/table.ts'

export const partitions = 4
const keys = 1000
const perRequest = 5000

/** The broker that `npm run services` runs, started where it is not there yet. */
export async function kafkaBrokers(): Promise<string[]> {
  const { url } = await up(serviceNamed('kafka'), (line) => console.error(`  ${line}`))
  return url.split(',')
}

export function kafkaClient(brokers: readonly string[]): kafkajs.Kafka {
  return new kafkajs.Kafka({ clientId: 'holdfast-bench', brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING })
}

/** A name that no other run uses. */
export function uniqueName(prefix: string): string {
  return `${prefix}_${randomBytes(6).toString('hex')}`
}

export interface Preload {
  readonly messages: number
  /** Whether they have the headers that holdfast's publisher writes. @defaultValue false */
  readonly headers?: boolean
}

/** A topic of small messages, each of about 100 bytes under one of 1,000 keys. */
export async function preloadedTopic(kafka: kafkajs.Kafka, { messages, headers = false }: Preload): Promise<string> {
  const topic = uniqueName('bench')
  const admin = kafka.admin()
  const producer = kafka.producer({ idempotent: true })
  await Promise.all([admin.connect(), producer.connect()])
  try {
    await admin.createTopics({ waitForLeaders: false, topics: [{ topic, numPartitions: partitions }] })
    await untilLed(admin, topic)
    for (let from = 0; from < messages; from += perRequest) {
      const count = Math.min(perRequest, messages - from)
      await producer.send({ topic, messages: Array.from({ length: count }, (_, n) => small(from + n, headers)) })
    }
  } finally {
    await Promise.all([admin.disconnect(), producer.disconnect()])
  }
  return topic
}

export async function deleteTopic(kafka: kafkajs.Kafka, topic: string): Promise<void> {
  const admin = kafka.admin()
  await admin.connect()
  await admin.deleteTopics({ topics: [topic] })
  await admin.disconnect()
}

function small(n: number, headers: boolean): kafkajs.Message {
  return {
    key: `customer-${n % keys}`,
    value: `{"orderId":"order-${n}","customer":"customer-${n % keys}","cents":450,"currency":"EUR","note":"as usual"}`,
    ...(headers
      ? { headers: { 'message-id': `order-${n}`, 'message-type': 'order.paid', 'message-time': '1790000000000' } }
      : {}),
  }
}

async function untilLed(admin: kafkajs.Admin, topic: string): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    const found = await admin.fetchTopicMetadata({ topics: [topic] }).catch(() => undefined)
    if (found?.topics[0]?.partitions.length === partitions) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`topic ${topic} got no leaders`)
}
