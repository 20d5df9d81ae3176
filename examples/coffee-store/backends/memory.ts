import { memoryBroker, memoryConsumer, memoryIdempotencyStore } from 'holdfast/memory'
import type { Broker, Keys } from '../backend.ts'
import type { ServiceName } from '../plan.ts'

export function memoryBackend(seed: number): Broker {
  const broker = memoryBroker({ partitions: 8, seed })
  const deadLetterTopic = (service: ServiceName) => `${service}.dead-letters`
  return {
    publisher: broker.publisher(),
    ordersTopic: 'orders',
    deadLetterTopic,
    async consume(service, pipeline) {
      const consumer = memoryConsumer({ broker, groupId: service, topics: ['orders'], pipeline })
      const stopping = new AbortController()
      const ended = consumer.run(stopping.signal)
      return {
        crash: () => consumer.crash(),
        async stop() {
          stopping.abort()
          await ended
        },
      }
    },
    deadLetters: async (service) => broker.messages(deadLetterTopic(service)),
    patienceMs: 15_000,
    close: async () => {},
  }
}

export function memoryKeys(): Keys {
  return { store: memoryIdempotencyStore(), closeKeys: async () => {} }
}
