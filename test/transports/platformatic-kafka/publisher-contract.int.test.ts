import { Producer } from '@platformatic/kafka'
import { it } from 'vitest'
import { platformaticKafkaPublisher } from 'holdfast/platformatic-kafka'
import { publisherContract, type PublisherHarness } from 'holdfast/testing'
import { faultProxy } from '../../support/fault-proxy.ts'
import { describeWith, kafkaBrokers } from '../../support/services.ts'
import { everythingIn } from '../kafkajs/everything-in.ts'
import { testKafka } from '../kafkajs/support.ts'
import { LedThrough } from './led-through.ts'

describeWith(['kafka'], 'platformaticKafkaPublisher on real Kafka', () => {
  for (const { name, run } of publisherContract(create)) it(name, { timeout: 90_000 }, run)
})

const givesUpMs = 3_000
const maxBytes = 50_000

async function create(): Promise<PublisherHarness> {
  const [broker = ''] = kafkaBrokers()
  const test = await testKafka()
  const proxy = await faultProxy(broker)
  const producer = new Producer({
    clientId: 'holdfast-test',
    bootstrapBrokers: kafkaBrokers(),
    idempotent: true,
    retries: 2,
    retryDelay: 100,
    requestTimeout: 2_000,
    context: new LedThrough(proxy.port),
  })
  return {
    publisher: platformaticKafkaPublisher(producer, { timeoutMs: givesUpMs }),
    createDestination: () => test.topic(3, { 'max.message.bytes': `${maxBytes}` }),
    arrived: (topic) => everythingIn(test, topic),
    refused: (destination) => ({ destination, body: Buffer.alloc(2 * maxBytes) }),
    outages: {
      'connections are refused': { begin: () => proxy.refuse(), end: () => proxy.restore() },
      'answers are lost': {
        begin: () => proxy.dropReplies(),
        end() {
          proxy.restore()
          // What waits for a lost answer waits for ever.
          proxy.cut()
        },
      },
    },
    givesUpMs,
    async dispose() {
      proxy.restore()
      await producer.close()
      await test.dispose()
      await proxy.dispose()
    },
  }
}
