import type { Pipeline, Publisher } from 'holdfast'
import { kafkajsConsumer, kafkajsPublisher } from 'holdfast/kafkajs'
import { memoryBroker, memoryConsumer } from 'holdfast/memory'
import { Kafka, logLevel } from 'kafkajs'
import { addressOf } from '../services.ts'
import { createTopics } from '../topics.ts'

export interface Broker {
  readonly publisher: Publisher
  consumer(pipeline: Pipeline, groupId: string): { run(signal: AbortSignal): Promise<void> }
  close(): Promise<void>
}

/** Kafka, or a broker in memory that repeats messages and loses confirmations. */
export async function broker(kafka: string | true | null, topic: string): Promise<Broker> {
  if (kafka === null) {
    const memory = memoryBroker({ seed: 7, faults: { duplicates: 0.05, lostConfirms: 0.02 } })
    return {
      publisher: memory.publisher(),
      consumer: (pipeline, groupId) =>
        memoryConsumer({ broker: memory, groupId, topics: [topic], pipeline, redeliverMs: 50 }),
      close: () => Promise.resolve(),
    }
  }
  const brokers = (kafka === true ? await addressOf('kafka') : kafka).split(',')
  const client = new Kafka({ brokers, logLevel: logLevel.NOTHING })
  const admin = client.admin()
  await admin.connect()
  await createTopics(admin, [topic], 6)
  await admin.disconnect()
  const producer = client.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  return {
    publisher: kafkajsPublisher(producer),
    consumer: (pipeline, groupId) => kafkajsConsumer({ kafka: client, groupId, topics: [topic], pipeline }),
    close: () => producer.disconnect(),
  }
}
