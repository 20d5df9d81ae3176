import { connect, Socket } from 'node:net'
import { Kafka, logLevel, type Consumer as KafkajsConsumer } from 'kafkajs'
import type { Outgoing } from 'holdfast'
import { eachMessage, kafkajsPublisher } from 'holdfast/kafkajs'
import { addressOf } from '../../services.ts'
import { createTopics } from '../../topics.ts'
import type { Broker, Consumer } from '../backend.ts'
import { serviceNames, type ServiceName } from '../plan.ts'
import { unreachable } from './unreachable.ts'

const partitions = 8
// The shortest that Kafka allows: so long it takes until a killed consumer is missed.
const sessionMs = 6_000

export async function kafkaBackend(address: string | true): Promise<Broker> {
  const brokers = (address === true ? await addressOf('kafka') : address).split(',')
  const run = `coffee-store-${Date.now().toString(36)}`
  const ordersTopic = `${run}.orders`
  const deadLetterTopic = (service: ServiceName) => `${run}.${service}.dead-letters`
  const topics = [ordersTopic, ...serviceNames.map(deadLetterTopic)]

  const client = { clientId: run, brokers, logLevel: logLevel.NOTHING, retry: { retries: 3 } }
  const kafka = new Kafka(client)
  const admin = kafka.admin()
  await admin.connect().catch((error: unknown) => unreachable('Kafka', 'kafka', brokers.join(','), error))
  await createTopics(admin, topics, partitions)
  // New partitions may have to wait for their leader.
  const producer = kafka.producer({ idempotent: true, retry: { retries: 8 } })
  await producer.connect()

  return {
    publisher: kafkajsPublisher(producer),
    ordersTopic,
    deadLetterTopic,
    async consume(service, pipeline) {
      const wire = cuttable()
      const consumer = new Kafka({ ...client, socketFactory: wire.socketFactory }).consumer({
        groupId: `${run}.${service}`,
        sessionTimeout: sessionMs,
        rebalanceTimeout: sessionMs,
        heartbeatInterval: 1_000,
        maxWaitTimeInMs: 100,
        retry: { retries: 3, restartOnFailure: async () => !wire.isCut() },
      })
      const stopping = new AbortController()
      await consumer.connect()
      await consumer.subscribe({ topics: [ordersTopic], fromBeginning: true })
      const joined = joining(consumer)
      await consumer.run({
        partitionsConsumedConcurrently: partitions,
        eachMessage: eachMessage(pipeline, { consumer, signal: stopping.signal, sessionMs }),
      })
      await joined
      return {
        async crash() {
          wire.cut()
          stopping.abort()
        },
        async stop() {
          stopping.abort()
          await consumer.disconnect()
        },
      } satisfies Consumer
    },
    deadLetters: (service) => readAll(kafka, deadLetterTopic(service)),
    patienceMs: 40_000,
    async close() {
      await producer.disconnect()
      await admin.deleteTopics({ topics })
      await admin.disconnect()
    },
  }
}

function joining(consumer: KafkajsConsumer): Promise<void> {
  return new Promise((resolve) => void consumer.on(consumer.events.GROUP_JOIN, () => resolve()))
}

/** Connections that can be cut from one moment to the next, as the end of a process does. */
function cuttable() {
  const sockets = new Set<Socket>()
  let cut = false
  return {
    isCut: () => cut,
    cut() {
      cut = true
      for (const socket of sockets) socket.destroy()
    },
    socketFactory({ host, port, onConnect }: { host: string; port: number; onConnect: () => void }): Socket {
      if (cut) return new Socket().destroy(new Error('this process is dead'))
      const socket = connect({ host, port }, onConnect)
      sockets.add(socket)
      return socket.once('close', () => sockets.delete(socket))
    },
  }
}

/** What a topic holds from its beginning to its present end. */
async function readAll(kafka: Kafka, topic: string): Promise<readonly Pick<Outgoing, 'id' | 'body'>[]> {
  const admin = kafka.admin()
  await admin.connect()
  const offsets = await admin.fetchTopicOffsets(topic)
  await admin.disconnect()
  const missing = new Map(offsets.filter(({ low, high }) => high > low).map((at) => [at.partition, Number(at.high)]))
  const found: Pick<Outgoing, 'id' | 'body'>[] = []
  if (missing.size === 0) return found

  const consumer = kafka.consumer({ groupId: `${topic}.audit`, maxWaitTimeInMs: 100 })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await new Promise<void>((resolve, reject) => {
    consumer.on(consumer.events.CRASH, ({ payload: { error } }) => reject(error))
    const eachRecord = async (partition: number, offset: string, id: string, body: Buffer | null) => {
      found.push({ id, body })
      if (Number(offset) + 1 >= (missing.get(partition) ?? 0)) missing.delete(partition)
      if (missing.size === 0) resolve()
    }
    consumer
      .run({
        eachMessage: ({ partition, message }) =>
          eachRecord(partition, message.offset, String(message.headers?.['message-id']), message.value),
      })
      .catch(reject)
  })
  await consumer.disconnect()
  return found
}
