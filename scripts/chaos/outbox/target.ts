import { createServer, type AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'
import kafkajs from 'kafkajs'
import { createTopics } from '../../../test/support/kafka-topics.ts'

/** Where the relays publish to, and what arrived there, in the order of arrival for each key. */
export interface ChaosTarget {
  readonly brokers: readonly string[] | null
  readonly port: number
  /** Every arrival as `key:n`, repeats included. */
  arrived(): readonly string[]
  close(): Promise<void>
}

/** This process is the broker: it confirms what it has written down. */
export async function socketTarget(): Promise<ChaosTarget> {
  const arrived: string[] = []
  const server = createServer((socket) => {
    socket.on('error', () => {})
    const lines = createInterface(socket)
    // A relay that is killed resets its connection.
    lines.on('error', () => {})
    lines.on('line', (line) => {
      const [batch, messages] = JSON.parse(line) as [number, [string, string][]]
      for (const [, id] of messages) arrived.push(id)
      socket.write(`${batch}\n`)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    ...{ brokers: null, port, arrived: () => arrived },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.unref()
        resolve()
      }),
  }
}

/** Real Kafka: a consumer of our own reads everything back, each partition in its order. */
export async function kafkaTarget(brokers: readonly string[], topic: string): Promise<ChaosTarget> {
  const kafka = new kafkajs.Kafka({ brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING, retry: { retries: 12 } })
  const admin = kafka.admin()
  await admin.connect()
  await createTopics(admin, [{ topic, numPartitions: 6 }])
  const arrived: string[] = []
  const consumer = kafka.consumer({ groupId: topic })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    eachBatch: ({ batch }) => {
      for (const { headers } of batch.messages) arrived.push(String(headers?.['message-id']))
      return Promise.resolve()
    },
  })
  return {
    ...{ brokers, port: 0, arrived: () => arrived },
    async close() {
      await consumer.disconnect()
      await admin.deleteTopics({ topics: [topic] }).catch(() => {})
      await admin.disconnect()
    },
  }
}
