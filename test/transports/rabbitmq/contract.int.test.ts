import { it } from 'vitest'
import { transportContract, type TransportUnderTest } from '../../../src/testing/index.ts'
import {
  byKey,
  declareQueues,
  rabbitmqConsumer,
  rabbitmqPublisher,
  type RabbitmqConsumerOptions,
} from '../../../src/transports/rabbitmq/index.ts'
import { faultProxy } from '../../support/fault-proxy.ts'
import { isFull } from '../../support/skipped.ts'
import { describeWith, rabbitmq4Url, rabbitmqUrl, uniqueName } from '../../support/services.ts'
import { testRabbitmq } from './support.ts'

export function rabbitmqUnderTest(url: () => string, more: Partial<RabbitmqConsumerOptions> = {}): TransportUnderTest {
  return {
    // Each group has queues of its own, which must be there before the first message: the suite makes groups later.
    features: {
      order: 'key',
      groups: false,
      persistence: true,
      delay: true,
      partitions: true,
      reconnects: true,
      maxHeaderBytes: 60_000,
    },
    maxBuffered: 2 * 256,
    async create() {
      const test = await testRabbitmq(url())
      const topics = new Map<string, readonly string[]>()
      const connection = await test.connect()
      const queuesOf = (topic: string) => topics.get(topic) ?? []
      return {
        publisher: rabbitmqPublisher(connection, { route: byKey((topic) => queuesOf(topic).length) }),
        async createTopic(partitions) {
          const exchange = uniqueName('topic')
          const names = await declareQueues(test.direct, { exchange, group: 'g', queues: partitions })
          topics.set(exchange, names)
          test.onDispose(async () => {
            for (const name of names) await test.channel.deleteQueue(name)
            await test.channel.deleteExchange(exchange)
          })
          return exchange
        },
        consumer({ topics: [topic = ''], groupId: _, ...options }) {
          const crashed = Promise.withResolvers<void>()
          const ghost = new AbortController()
          const making = make()
          let made: ReturnType<typeof rabbitmqConsumer> | undefined
          async function make() {
            // To the broker, a process died whose connections are cut and refused.
            const proxy = await faultProxy(url())
            test.onDispose(() => proxy.dispose())
            const own = await test.connect(url().replace(/@.*/, `@${proxy.address}`))
            made = rabbitmqConsumer({
              connection: own,
              queues: queuesOf(topic),
              shareEveryMs: 300,
              ...options,
              ...more,
            })
            return { consumer: made, proxy }
          }
          return {
            run: (signal) =>
              Promise.race([
                making.then(({ consumer }) => consumer.run(AbortSignal.any([signal, ghost.signal]))),
                crashed.promise,
              ]),
            async cut() {
              const { proxy } = await making
              proxy.cut()
            },
            async crash() {
              const { proxy } = await making
              proxy.refuse()
              ghost.abort(new Error('crashed'))
              crashed.resolve()
            },
            health: () => made?.health() ?? { name: 'rabbitmq', live: true, ready: false, details: { buffered: 0 } },
          }
        },
        dispose: () => test.dispose(),
      }
    },
  }
}

describeWith(['rabbitmq'], 'the consumer on real RabbitMQ', () => {
  for (const { name, run } of transportContract(rabbitmqUnderTest(rabbitmqUrl))) it(name, { timeout: 90_000 }, run)
})

if (isFull)
  describeWith(['rabbitmq4'], 'the consumer on RabbitMQ 4', () => {
    for (const { name, run } of transportContract(rabbitmqUnderTest(rabbitmq4Url))) it(name, { timeout: 90_000 }, run)
  })
