import amqp from 'amqplib'
import kafkajs from 'kafkajs'
import { outgoing } from '../../../src/core/publisher.ts'
import { byKey, declareQueues, queueNames, rabbitmqPublisher } from '../../../src/transports/rabbitmq/index.ts'
import type { Address } from './settings.ts'
import { createTopics } from '../../../test/support/kafka-topics.ts'

export interface Sent {
  readonly id: string
  readonly key: string
  readonly body: string
}

/** Where the messages of a run come from. */
export interface Broker {
  send(messages: readonly Sent[]): Promise<void>
  dispose(): Promise<void>
}

const sources = 12

export function brokerAt(address: Address, name: string): Promise<Broker> {
  return address.kind === 'kafka' ? kafka(address.url, name) : rabbitmq(address.url, name)
}

async function kafka(url: string, name: string): Promise<Broker> {
  const client = new kafkajs.Kafka({
    brokers: url.split(','),
    logLevel: kafkajs.logLevel.NOTHING,
    retry: { retries: 12 },
  })
  const admin = client.admin()
  const producer = client.producer({ idempotent: true, maxInFlightRequests: 1 })
  await admin.connect()
  await createTopics(admin, [{ topic: name, numPartitions: sources }])
  await producer.connect()
  return {
    async send(messages) {
      const records = messages.map(({ id, key, body }) => ({ key, value: body, headers: { 'message-id': id } }))
      await producer.send({ topic: name, messages: records })
    },
    async dispose() {
      await admin.deleteTopics({ topics: [name] }).catch(() => {})
      await Promise.allSettled([admin.disconnect(), producer.disconnect()])
    },
  }
}

/** Queues with one active consumer each, behind an exchange that sends all messages of a key to one of them. */
async function rabbitmq(url: string, name: string): Promise<Broker> {
  const connection = await amqp.connect(url)
  connection.on('error', () => {})
  const queues = await declareQueues(connection, { exchange: name, group: name, queues: sources })
  const publisher = rabbitmqPublisher(connection, { route: byKey(sources), timeoutMs: 15_000 })
  return {
    async send(messages) {
      await publisher.publish(
        messages.map(({ id, key, body }) => outgoing({ destination: name, id, key, body: Buffer.from(body) })),
      )
    },
    async dispose() {
      const channel = await connection.createChannel()
      for (const queue of queues) await channel.deleteQueue(queue)
      await channel.deleteExchange(name)
      await connection.close()
    },
  }
}

export function queuesOf(name: string): readonly string[] {
  return queueNames({ exchange: name, group: name, queues: sources })
}
