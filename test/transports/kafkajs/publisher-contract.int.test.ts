import { connect } from 'node:net'
import { it } from 'vitest'
import { kafkajsPublisher } from 'holdfast/kafkajs'
import { publisherContract, type PublisherHarness } from 'holdfast/testing'
import { faultProxy } from '../../support/fault-proxy.ts'
import { describeWith, kafkaBrokers } from '../../support/services.ts'
import { everythingIn } from './everything-in.ts'
import { testKafka } from './support.ts'

describeWith(['kafka'], 'kafkajsPublisher on real Kafka', () => {
  for (const { name, run } of publisherContract(create)) it(name, { timeout: 90_000 }, run)
})

const givesUpMs = 3_000
const maxBytes = 50_000

async function create(): Promise<PublisherHarness> {
  const [broker = ''] = kafkaBrokers()
  const test = await testKafka()
  const proxy = await faultProxy(broker)
  // The broker names its own address: every connection is led through the proxy all the same.
  const troubled = await testKafka({
    socketFactory: ({ onConnect }) => connect({ host: '127.0.0.1', port: proxy.port }, onConnect),
    retry: { initialRetryTime: 50, retries: 2 },
  })
  const producer = troubled.kafka.producer({ idempotent: true, allowAutoTopicCreation: false })
  await producer.connect()
  return {
    publisher: kafkajsPublisher(producer, { timeoutMs: givesUpMs }),
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
      await producer.disconnect()
      await troubled.dispose()
      await test.dispose()
      await proxy.dispose()
    },
  }
}
