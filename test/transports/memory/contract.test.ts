import { describe, it } from 'vitest'
import { transportContract, type TransportUnderTest } from '../../../src/testing/index.ts'
import { memoryBroker, memoryConsumer, memoryReplay } from '../../../src/transports/memory/index.ts'

const memory: TransportUnderTest = {
  features: { order: 'key', groups: true, persistence: false, delay: true, partitions: true, replay: true },
  // Twice `ahead`, for each of the two partitions.
  maxBuffered: 2 * 512,
  async create() {
    const broker = memoryBroker()
    let topics = 0
    return {
      publisher: broker.publisher(),
      async createTopic(partitions) {
        const topic = `topic-${topics++}`
        broker.createTopic(topic, partitions)
        return topic
      },
      consumer: (options) => memoryConsumer({ broker, ...options }),
      replay: (of, options) => memoryReplay({ broker, ...of, ...options }),
      dispose: async () => {},
    }
  },
}

describe('the memory transport', () => {
  for (const { name, run } of transportContract(memory)) it(name, { timeout: 60_000 }, run)
})
