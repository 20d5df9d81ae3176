import { setTimeout as sleep } from 'node:timers/promises'
import { it } from 'vitest'
import { amqpConsumer, amqpPublisher, queue, subscription, topic } from 'holdfast/amqp'
import { transportContract, type TransportFeatures, type TransportUnderTest } from 'holdfast/testing'
import { faultProxy } from '../../support/fault-proxy.ts'
import { isFull } from '../../support/skipped.ts'
import { activemqUrl, artemisUrl, describeWith } from '../../support/services.ts'
import { testAmqp } from './support.ts'

const features: TransportFeatures = { order: 'key', groups: false, persistence: true, delay: true, partitions: false }

/** A subscription must be there before the first message, and the suite makes groups later: it has one. */
function amqpUnderTest(url: () => string, name?: string): TransportUnderTest {
  const source = (address: string) => (name === undefined ? queue(address) : subscription(address, name))
  return {
    features,
    maxBuffered: 256,
    create() {
      const test = testAmqp(url())
      return Promise.resolve({
        publisher: amqpPublisher(test.connect(), name === undefined ? {} : { target: topic }),
        async createTopic() {
          const address = test.queue()
          if (name !== undefined) await test.subscribe(address, name)
          return address
        },
        consumer({ topics, groupId: _, ...options }) {
          const crashed = Promise.withResolvers<void>()
          const ghost = new AbortController()
          const making = make()
          let made: ReturnType<typeof amqpConsumer> | undefined
          async function make() {
            // To the broker, a process died whose connections are cut and refused.
            const proxy = await faultProxy(url())
            made = amqpConsumer({
              connection: test.connect(`amqp://${proxy.address}`),
              sources: topics.map(source),
              ...options,
            })
            return { consumer: made, proxy }
          }
          return {
            run: (signal) =>
              Promise.race([
                making.then(({ consumer }) => consumer.run(AbortSignal.any([signal, ghost.signal]))),
                crashed.promise,
              ]),
            async crash() {
              const { proxy } = await making
              proxy.refuse()
              ghost.abort(new Error('crashed'))
              crashed.resolve()
            },
            health: () => made?.health() ?? { name: 'amqp', live: true, ready: false, details: { buffered: 0 } },
          }
        },
        async dispose() {
          await test.dispose()
          await sleep(20)
        },
      })
    },
  }
}

describeWith(['artemis'], 'the consumer on real Artemis', () => {
  for (const { name, run } of transportContract(amqpUnderTest(artemisUrl))) it(name, { timeout: 90_000 }, run)
})

if (isFull)
  describeWith(['artemis'], 'the consumer on shared subscriptions of Artemis', () => {
    for (const { name, run } of transportContract(amqpUnderTest(artemisUrl, 'billing')))
      it(name, { timeout: 90_000 }, run)
  })

if (isFull)
  describeWith(['activemq'], 'the consumer on ActiveMQ Classic', () => {
    for (const { name, run } of transportContract(amqpUnderTest(activemqUrl))) it(name, { timeout: 90_000 }, run)
  })
