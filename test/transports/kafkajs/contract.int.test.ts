import type { Socket } from 'node:net'
import { connect as connectSocket } from 'node:net'
import { Kafka, logLevel, type ISocketFactory } from 'kafkajs'
import { it } from 'vitest'
import { transportContract, type TransportUnderTest } from '../../../src/testing/index.ts'
import { kafkajsConsumer, kafkajsPublisher, kafkajsReplay } from '../../../src/transports/kafkajs/index.ts'
import { describeWith, kafkaBrokers } from '../../support/services.ts'
import { testKafka } from './support.ts'

/** Sockets that can all be cut at once: to the broker, its process died. */
function mortalSockets(): { readonly factory: ISocketFactory; cut(): void; kill(): void } {
  const sockets = new Set<Socket>()
  let dead = false
  // kafkajs hears of an error and of an orderly end, not of a close alone.
  const cut = (): void => {
    for (const socket of sockets) socket.destroy(new Error('cut'))
    sockets.clear()
  }
  return {
    factory({ host, port, onConnect }) {
      const socket = connectSocket({ host, port }, onConnect)
      sockets.add(socket)
      if (dead) socket.destroy()
      return socket
    },
    cut,
    kill() {
      dead = true
      for (const socket of sockets) socket.destroy()
    },
  }
}

const kafka: TransportUnderTest = {
  features: {
    order: 'key',
    groups: true,
    persistence: true,
    delay: true,
    partitions: true,
    replay: true,
    reconnects: true,
  },
  // For each of two partitions the buffer, and one fetch of 64 KB on top.
  maxBuffered: 2 * (1000 + 1000),
  async create() {
    const test = await testKafka()
    const producer = test.kafka.producer({ idempotent: true })
    await producer.connect()
    return {
      publisher: kafkajsPublisher(producer),
      createTopic: (partitions) => test.topic(partitions),
      consumer(options) {
        const sockets = mortalSockets()
        const crashed = Promise.withResolvers<void>()
        const ghost = new AbortController()
        const client = new Kafka({
          brokers: kafkaBrokers(),
          logLevel: logLevel.NOTHING,
          socketFactory: sockets.factory,
          retry: { retries: 1, initialRetryTime: 100 },
        })
        const consumer = kafkajsConsumer({
          kafka: client,
          sessionMs: 3000,
          rebalanceMs: 8000,
          heartbeatMs: 300,
          commitEveryMs: 50,
          settings: { maxBytesPerPartition: 65_536 },
          ...options,
        })
        return {
          // What is left of a crashed one ends in its own time.
          run: (signal) => Promise.race([consumer.run(AbortSignal.any([signal, ghost.signal])), crashed.promise]),
          cut: async () => sockets.cut(),
          async crash() {
            sockets.kill()
            ghost.abort(new Error('crashed'))
            crashed.resolve()
          },
          health: () => consumer.health(),
        }
      },
      replay: (of, options) => kafkajsReplay({ kafka: test.kafka, ...of, ...options }),
      async dispose() {
        await producer.disconnect()
        await test.dispose()
      },
    }
  },
}

describeWith(['kafka'], 'the managed Kafka consumer', () => {
  for (const { name, run } of transportContract(kafka)) it(name, { timeout: 90_000 }, run)
})
