import { it } from 'vitest'
import { bySubject, natsConsumer, natsPublisher, natsReplay, numberedPartitions } from 'holdfast/nats'
import { transportContract, type TransportUnderTest } from 'holdfast/testing'
import { faultProxy } from '../../support/fault-proxy.ts'
import { isFull } from '../../support/skipped.ts'
import { describeWith, natsNewestUrl, natsUrl } from '../../support/services.ts'
import { testNats } from './support.ts'

function natsUnderTest(url: () => string): TransportUnderTest {
  return {
    features: {
      order: 'key',
      groups: true,
      persistence: true,
      delay: true,
      partitions: true,
      replay: true,
      reconnects: true,
      maxHeaderBytes: 60_000,
    },
    maxBuffered: 2 * 2 * 256,
    async create() {
      const test = await testNats(url())
      const partitionsOf = new Map<string, number>()
      return {
        publisher: natsPublisher(test.js, {
          jsm: test.jsm,
          subject: bySubject((destination) => partitionsOf.get(destination) ?? 1),
        }),
        async createTopic(partitions) {
          const stream = await test.stream()
          partitionsOf.set(stream, partitions)
          return stream
        },
        consumer({ topics: [topic = ''], groupId, ...options }) {
          const crashed = Promise.withResolvers<void>()
          const ghost = new AbortController()
          let made: ReturnType<typeof natsConsumer> | undefined
          const making = make()
          async function make() {
            // To the server, a process died whose connections are cut and refused.
            const proxy = await faultProxy(url())
            test.onDispose(() => proxy.dispose())
            const own = await test.connect(`nats://${proxy.address}`)
            made = natsConsumer({
              ...own,
              stream: topic,
              group: groupId,
              partitions: numberedPartitions(topic, partitionsOf.get(topic) ?? 1),
              leaseMs: 1_500,
              shareEveryMs: 150,
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
            health: () => made?.health() ?? { name: 'nats', live: true, ready: false, details: { buffered: 0 } },
          }
        },
        replay: ({ topics: [topic = ''], groupId }, options) =>
          natsReplay({
            jsm: test.jsm,
            kv: test.kv,
            stream: topic,
            group: groupId,
            partitions: numberedPartitions(topic, partitionsOf.get(topic) ?? 1),
            leaseMs: 1_500,
            ...options,
          }),
        dispose: () => test.dispose(),
      }
    },
  }
}

describeWith(['nats'], 'the consumer on real NATS', () => {
  for (const { name, run } of transportContract(natsUnderTest(natsUrl))) it(name, { timeout: 90_000 }, run)
})

if (isFull)
  describeWith(['nats_newest'], 'the consumer on the newest NATS', () => {
    for (const { name, run } of transportContract(natsUnderTest(natsNewestUrl))) it(name, { timeout: 90_000 }, run)
  })
