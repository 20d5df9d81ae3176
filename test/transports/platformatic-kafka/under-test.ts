import { Producer } from '@platformatic/kafka'
import {
  platformaticKafkaConsumer,
  platformaticKafkaPublisher,
  platformaticKafkaReplay,
  type GroupProtocol,
  type KafkaConnectionOptions,
} from 'holdfast/platformatic-kafka'
import type { TransportUnderTest } from 'holdfast/testing'
import { faultProxy } from '../../support/fault-proxy.ts'
import { testKafka } from '../kafkajs/support.ts'
import { LedThrough } from './led-through.ts'

/** The transport over one broker, for the contract. */
export function transportOn(
  broker: string,
  groupProtocol: GroupProtocol,
  times: { readonly sessionMs: number; readonly rebalanceMs: number } = { sessionMs: 3000, rebalanceMs: 8000 },
): TransportUnderTest {
  return {
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
      const test = await testKafka({ brokers: [broker] })
      const producer = producerOn(broker)
      const ends: (() => Promise<void>)[] = []
      return {
        publisher: platformaticKafkaPublisher(producer),
        createTopic: (partitions) => test.topic(partitions),
        consumer(options) {
          const crashed = Promise.withResolvers<void>()
          const ghost = new AbortController()
          const proxied = faultProxy(broker)
          ends.push(async () => (await proxied).dispose())
          const connected = proxied.then(({ port }) =>
            platformaticKafkaConsumer({
              connection: connectionTo(broker, { context: new LedThrough(port) }),
              groupProtocol,
              ...times,
              heartbeatMs: 300,
              commitEveryMs: 50,
              maxBytesPerPartition: 65_536,
              ...options,
            }),
          )
          let consumer: Awaited<typeof connected> | undefined
          void connected.then((made) => {
            consumer = made
          })
          return {
            // What is left of a crashed one ends in its own time.
            run: async (signal) => {
              const made = await connected
              return Promise.race([made.run(AbortSignal.any([signal, ghost.signal])), crashed.promise])
            },
            cut: async () => (await proxied).cut(),
            async crash() {
              const proxy = await proxied
              proxy.refuse()
              ghost.abort(new Error('crashed'))
              crashed.resolve()
            },
            health: () => consumer?.health() ?? { name: '', live: true, ready: false, details: {} },
          }
        },
        replay: (of, options) => platformaticKafkaReplay({ connection: connectionTo(broker), ...of, ...options }),
        async dispose() {
          await producer.close()
          await test.dispose()
          await Promise.all(ends.map((end) => end()))
        },
      }
    },
  }
}

export function producerOn(broker: string): Producer {
  return new Producer({ ...connectionTo(broker), idempotent: true, retries: 3, requestTimeout: 5_000 })
}

export function connectionTo(broker: string, more: Partial<KafkaConnectionOptions> = {}): KafkaConnectionOptions {
  return { clientId: 'holdfast-test', bootstrapBrokers: [broker], ...more }
}
