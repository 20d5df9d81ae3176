import { setTimeout as sleep } from 'node:timers/promises'
import kafkajs from 'kafkajs'
import { systemClock } from '../../../src/core/clock.ts'
import { fakeClock } from '../../../src/testing/fake-clock.ts'
import { memoryBroker } from '../../../src/transports/memory/broker.ts'
import { memoryConsumer } from '../../../src/transports/memory/consumer.ts'
import { kafkajsConsumer, kafkajsPublisher } from '../../../src/transports/kafkajs/index.ts'
import { uniqueName } from '../../../test/support/unique-name.ts'
import type { BurstTransport } from './burst.ts'
import { createTopics } from '../../../test/support/kafka-topics.ts'

const destination = 'orders'

/** In virtual time. */
export function memoryTransport(): BurstTransport {
  const clock = fakeClock()
  const broker = memoryBroker({ clock })
  return {
    ...{ clock, destination },
    publish: (messages) => broker.publisher().publish(messages),
    wait: (ms) => clock.advance(ms),
    async consume(pipeline) {
      const stop = new AbortController()
      const running = memoryConsumer({ broker, groupId: 'burst', topics: [destination], pipeline, clock }).run(
        stop.signal,
      )
      return async () => {
        stop.abort()
        await clock.advance(15_000)
        await running
      }
    },
  }
}

/** On a real server: give the topic and the clients back with `close()`. */
export async function kafkaTransport(url: string): Promise<BurstTransport & { close(): Promise<void> }> {
  const topic = uniqueName('poison_burst')
  const kafka = new kafkajs.Kafka({ clientId: topic, brokers: url.split(','), logLevel: kafkajs.logLevel.NOTHING })
  const admin = kafka.admin()
  const producer = kafka.producer({ idempotent: true })
  await Promise.all([admin.connect(), producer.connect()])
  await createTopics(admin, [{ topic, numPartitions: 4 }])
  const publisher = kafkajsPublisher(producer)
  return {
    clock: systemClock,
    destination: topic,
    publish: (messages) => publisher.publish(messages),
    wait: (ms) => sleep(ms),
    async consume(pipeline) {
      const stop = new AbortController()
      const consumer = kafkajsConsumer({ kafka, groupId: topic, topics: [topic], pipeline })
      const running = consumer.run(stop.signal)
      while (!consumer.health().ready) await Promise.race([sleep(50), running])
      return async () => {
        stop.abort()
        await running
      }
    },
    async close() {
      await admin.deleteTopics({ topics: [topic] })
      await Promise.all([admin.disconnect(), producer.disconnect()])
    },
  }
}
