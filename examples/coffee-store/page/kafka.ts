import { connect, Socket } from 'node:net'
import { kafkajsConsumer, kafkajsPublisher } from 'holdfast/kafkajs'
import { Kafka, logLevel } from 'kafkajs'
import { setTimeout as sleep } from 'node:timers/promises'
import { addressOf } from '../../services.ts'
import { createTopics } from '../../topics.ts'
import { unreachable } from '../backends/unreachable.ts'
import type { Wire } from './ground.ts'

// The shortest that Kafka allows: so long it takes until a killed service is missed.
const sessionMs = 6_000

/** Real Kafka, by the managed consumer: each customer in order, many customers at once. */
export async function kafkaWire(address: string | true): Promise<Wire> {
  const brokers = (address === true ? await addressOf('kafka') : address).split(',')
  const run = `coffee-page-${Date.now().toString(36)}`
  const [ordersTopic, clicksTopic] = [`${run}.orders`, `${run}.clicks`]
  const client = { clientId: run, brokers, logLevel: logLevel.NOTHING, retry: { retries: 3 } }
  const kafka = new Kafka(client)
  const admin = kafka.admin()
  await admin.connect().catch((error: unknown) => unreachable('Kafka', 'kafka', brokers.join(','), error))
  const topics = [ordersTopic, clicksTopic]
  await createTopics(admin, topics, 8)
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()

  return {
    name: 'Kafka',
    publisher: kafkajsPublisher(producer),
    ordersTopic,
    clicksTopic,
    async consume(group, topic, pipeline, concurrency) {
      const sockets = cuttable()
      const consumer = kafkajsConsumer({
        kafka: new Kafka({ ...client, socketFactory: sockets.factory }),
        groupId: `${run}.${group}`,
        topics: [topic],
        pipeline,
        concurrency,
        sessionMs,
        rebalanceMs: sessionMs,
        drainMs: 2_000,
      })
      const stopping = new AbortController()
      const running = consumer.run(stopping.signal)
      // A killed one says nothing more.
      const ended = running.catch((error: unknown) => {
        if (!sockets.isCut()) throw error
      })
      while (!consumer.health().ready) await Promise.race([sleep(50), running])
      return {
        async crash() {
          sockets.cut()
          stopping.abort()
          void ended
        },
        async stop() {
          stopping.abort()
          await ended
        },
      }
    },
    async close() {
      await producer.disconnect()
      await admin.deleteTopics({ topics })
      await admin.disconnect()
    },
  }
}

/** Connections that can be cut from one moment to the next, as the end of a process does. */
function cuttable() {
  const sockets = new Set<Socket>()
  let isCut = false
  return {
    isCut: () => isCut,
    cut() {
      isCut = true
      for (const socket of sockets) socket.destroy()
    },
    factory({ host, port, onConnect }: { host: string; port: number; onConnect: () => void }): Socket {
      if (isCut) return new Socket().destroy(new Error('this process is dead'))
      const socket = connect({ host, port }, onConnect)
      sockets.add(socket)
      return socket.once('close', () => sockets.delete(socket))
    },
  }
}
