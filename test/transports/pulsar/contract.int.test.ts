import { pulsarClient, pulsarConsumer, pulsarPublisher, pulsarReplay } from 'holdfast/pulsar'
import { publisherContract, transportContract, type PublisherHarness, type TransportUnderTest } from 'holdfast/testing'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { faultProxy } from '../../support/fault-proxy.ts'
import { describeWith, pulsarUrl, uniqueName } from '../../support/services.ts'
import { describeFull, isFull } from '../../support/skipped.ts'
import { arrivedAt, clientThrough, pulsarWeb } from './support.ts'

const givesUpMs = 3_000

const underTest: TransportUnderTest = {
  features: {
    order: 'key',
    groups: true,
    persistence: true,
    delay: true,
    partitions: false,
    replay: true,
    reconnects: true,
  },
  maxBuffered: 256,
  async create() {
    const client = pulsarClient({ serviceUrl: pulsarUrl() })
    const publisher = pulsarPublisher(client)
    const ends: (() => Promise<void> | void)[] = [() => client.close()]
    return {
      publisher,
      createTopic: () => Promise.resolve(uniqueName('topic')),
      consumer({ topics, groupId, ...options }) {
        const crashed = Promise.withResolvers<void>()
        const ghost = new AbortController()
        let made: ReturnType<typeof pulsarConsumer> | undefined
        const making = make()
        async function make() {
          // To the broker, a process died whose connections are cut and refused.
          const proxy = await faultProxy(pulsarUrl())
          const own = clientThrough(proxy)
          ends.push(
            () => own.close(),
            () => proxy.dispose(),
          )
          made = pulsarConsumer({ client: own, subscription: groupId, topics, ...options })
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
          health: () => made?.health() ?? { name: 'pulsar', live: true, ready: false, details: { buffered: 0 } },
        }
      },
      replay: ({ topics, groupId }, options) =>
        pulsarReplay({ client, webUrl: pulsarWeb(), subscription: groupId, topics, ...options }),
      async dispose() {
        await publisher.close()
        for (const end of ends.reverse()) await end()
      },
    }
  },
}

async function harness(): Promise<PublisherHarness> {
  const proxy = await faultProxy(pulsarUrl())
  const client = clientThrough(proxy)
  const publisher = pulsarPublisher(client, { timeoutMs: givesUpMs })
  return {
    publisher,
    createDestination: () => uniqueName('topic'),
    arrived: arrivedAt,
    refused: (destination) => ({ destination, body: Buffer.alloc(6 * 1024 * 1024) }),
    outages: {
      'connections are refused': { begin: () => proxy.refuse(), end: () => proxy.restore() },
      'answers are lost': {
        begin: () => proxy.dropReplies(),
        async end() {
          proxy.restore()
          proxy.cut()
          await sleep(100)
        },
      },
    },
    givesUpMs,
    async dispose() {
      proxy.restore()
      client.close()
      await proxy.dispose()
    },
  }
}

if (isFull)
  describeWith(['pulsar'], 'the consumer on real Pulsar', () => {
    for (const { name, run } of transportContract(underTest)) it(name, { timeout: 90_000 }, run)
  })

if (isFull)
  describeWith(['pulsar'], 'pulsarPublisher on real Pulsar', () => {
    for (const { name, run } of publisherContract(harness)) it(name, { timeout: 90_000 }, run)
  })

// A file needs a suite, also where its server is not there.
if (!isFull) describeFull('Pulsar, the contracts', () => it('needs the full run', () => expect(isFull).toBe(true)))
