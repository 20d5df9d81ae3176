import { pulsarClient, pulsarConsumer, pulsarPublisher } from 'holdfast/pulsar'
import { publisherContract, transportContract, type PublisherHarness, type TransportUnderTest } from 'holdfast/testing'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { faultProxy } from '../../support/fault-proxy.ts'
import { describeWith, pulsarUrl, uniqueName } from '../../support/services.ts'
import { describeFull, isFull } from '../../support/skipped.ts'
import { arrivedAt, clientThrough } from './support.ts'

const givesUpMs = 3_000

const underTest: TransportUnderTest = {
  features: { order: 'key', groups: true, persistence: true, delay: true, partitions: false },
  maxBuffered: 256,
  create() {
    const clients = [pulsarClient({ serviceUrl: pulsarUrl() })]
    const publisher = pulsarPublisher(clients[0] ?? pulsarClient({ serviceUrl: pulsarUrl() }))
    return Promise.resolve({
      publisher,
      createTopic: () => Promise.resolve(uniqueName('topic')),
      consumer({ topics, groupId, ...options }) {
        const client = pulsarClient({ serviceUrl: pulsarUrl() })
        clients.push(client)
        const consumer = pulsarConsumer({ client, subscription: groupId, topics, ...options })
        const crashed = Promise.withResolvers<void>()
        const ghost = new AbortController()
        return {
          run: (signal) => Promise.race([consumer.run(AbortSignal.any([signal, ghost.signal])), crashed.promise]),
          crash() {
            // Its sockets are gone from one moment to the next, and it cannot make others.
            client.close()
            ghost.abort(new Error('crashed'))
            crashed.resolve()
            return Promise.resolve()
          },
          health: () => consumer.health(),
        }
      },
      async dispose() {
        await publisher.close()
        for (const client of clients) client.close()
      },
    })
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
