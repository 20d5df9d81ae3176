import { setTimeout as sleep } from 'node:timers/promises'
import { memoryIdempotencyStore } from 'holdfast/memory'
import { pulsarPublisher } from 'holdfast/pulsar'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { signal } from '../../../scripts/services/processes.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { fullName, type PulsarClient } from '../../../src/transports/pulsar/client.ts'
import { faultProxy, through } from '../../support/fault-proxy.ts'
import { privatePulsarCluster, type PrivateServer } from '../../support/private-servers.ts'
import { pulsarThrough } from '../../support/pulsar-through.ts'
import { describeWith, uniqueName } from '../../support/services.ts'
import { describeFull, isFull } from '../../support/skipped.ts'
import { until } from '../rabbitmq/support.ts'
import { numbered, ofKey, PulsarBench } from './bench.ts'
import { arrivedAt } from './support.ts'

const redirect = 0
const [count, keys, page] = [200, 20, 10]

interface Broker {
  /** `pulsar://…` */
  readonly url: string
  /** As the cluster names it. */
  readonly id: string
}

if (isFull)
  describeWith(['pulsar'], 'a cluster of Pulsar: two brokers and a proxy', () => {
    let cluster: PrivateServer | undefined
    let first: Broker
    let second: Broker
    let proxy: string
    const bench = new PulsarBench(() => ({ url: first.url, also: cluster?.also ?? {} }))
    beforeAll(async () => {
      cluster = await privatePulsarCluster()
      const { web = '', second: url = '', secondWeb = '', proxy: proxyUrl = '' } = cluster.also
      first = { url: cluster.url, id: new URL(web).host }
      second = { url, id: new URL(secondWeb).host }
      proxy = proxyUrl
    }, 400_000)
    afterAll(() => cluster?.dispose(), 60_000)
    afterEach(() => bench.close())

    const ownerOf = async (topic: string): Promise<string> => {
      const found = await bench.web(`lookup/v2/topic/${topic.replace('://', '/')}`)
      return (found as { readonly brokerUrl: string }).brokerUrl
    }

    /** Moves a topic, and all others of its bundle, to that broker. */
    async function move(topic: string, to: Broker): Promise<void> {
      const bundle = (await bench.web(`lookup/v2/topic/${topic.replace('://', '/')}/bundle`)) as string
      const namespace = topic.split('/').slice(2, 4).join('/')
      // The wish holds for one choice of the leader, and a lookup that comes to nothing may use it up.
      const unload = `namespaces/${namespace}/${bundle}/unload?destinationBroker=${to.id}`
      await until(
        `${topic} is at ${to.url}`,
        async () => {
          await bench.admin(unload, 'PUT').catch(() => {})
          return (await ownerOf(topic).catch(() => '')) === to.url
        },
        60_000,
      )
    }

    async function topicsOf(namespace: string, topics: number): Promise<readonly string[]> {
      await bench.admin(`namespaces/${namespace}`, 'PUT', { bundles: { numBundles: topics } })
      return Array.from({ length: topics }, (_, n) => `persistent://${namespace}/topic-${n}`)
    }

    async function topicAt(broker: Broker): Promise<string> {
      const [topic = ''] = await topicsOf(`public/${uniqueName('moved')}`, 1)
      // Until somebody asks for it, it is at nobody's.
      await bench.connect().connectionFor(topic)
      if ((await ownerOf(topic)) !== broker.url) await move(topic, broker)
      return topic
    }

    interface Traffic {
      readonly publishing: PulsarClient
      readonly consuming: readonly PulsarClient[]
      /** What happens after a third of the messages. */
      readonly meanwhile: () => Promise<unknown>
    }

    /** Publishes with keys to members of one subscription, who remember what they handled. */
    async function carry(topic: string, { publishing, consuming, meanwhile }: Traffic): Promise<readonly string[]> {
      const done: string[] = []
      const store = memoryIdempotencyStore()
      const members = consuming.map((client) =>
        bench.member(topic, () => {}, {
          ...{ client, concurrency: 16 },
          pipeline: pipeline('orders')
            .use(idempotency({ store }))
            .handle(async ({ message, signal: over }) => {
              await sleep(2, undefined, { signal: over })
              done.push(message.id)
            }),
        }),
      )
      await until('all members', () => members.every(({ consumer }) => consumer.health().ready), 60_000)
      const publisher = pulsarPublisher(publishing, { timeoutMs: 90_000 })
      let happening: Promise<unknown> = Promise.resolve()
      for (let from = 0; from < count; from += page) {
        if (from === 6 * page) {
          happening = meanwhile()
          happening.catch(() => {})
        }
        await publisher.publish(numbered(topic, page, keys, from))
        await sleep(20)
      }
      await happening
      await until('all', () => new Set(done).size === count, 90_000)
      await Promise.all(members.map(({ end }) => end()))
      return done
    }

    /** Nothing lost, nothing doubled, each key in its order: in the topic and at the handler. */
    async function expectAll(topic: string, done: readonly string[], serviceUrl: string): Promise<void> {
      const all = numbered(topic, count).map(({ id }) => id)
      const stored = (await arrivedAt(topic, serviceUrl)).map(({ id }) => id)
      for (const ids of [done, stored]) {
        expect(ids.toSorted()).toEqual(all.toSorted())
        for (let key = 0; key < keys; key++) {
          const mine = ofKey(ids, key, keys)
          expect(mine).toEqual(mine.toSorted((a, b) => a - b))
        }
      }
    }

    it('a lookup at a broker that does not lead is redirected, and every topic is found at its owner', async () => {
      const topics = await topicsOf(`public/${uniqueName('many')}`, 8)
      const leader = (await bench.admin('brokers/leaderBroker')) as { readonly brokerId: string }
      const follower = leader.brokerId === first.id ? second : first
      const asking = pulsarThrough(new URL(follower.url).host)
      bench.clients.push(asking)
      const answers = await Promise.all(
        topics.map(async (topic) =>
          (await asking.connectionFor(topic)).request('lookup', { topic: fullName(topic), isAuthoritative: false }),
        ),
      )
      expect(answers.map(({ response = redirect }) => response)).toEqual(topics.map(() => redirect))
      const client = bench.connect(follower.url)
      await pulsarPublisher(client).publish(topics.flatMap((topic) => numbered(topic, 2)))
      await move(topics[0] ?? '', first)
      await move(topics[1] ?? '', second)
      const owners = new Set(await Promise.all(topics.map(ownerOf)))
      expect(owners).toEqual(new Set([first.url, second.url]))
      const seen: string[] = []
      const one = bench.member('', ({ origin, message }) => void seen.push(`${origin.destination} ${message.id}`), {
        ...{ client: bench.connect(follower.url), topics },
      })
      await until('all', () => seen.length === 2 * topics.length)
      await one.end()
      expect(new Set(seen).size).toBe(2 * topics.length)
    }, 120_000)

    it('a topic that moves to the other broker under traffic loses nothing, doubles nothing and keeps its order', async () => {
      const topic = await topicAt(second)
      const done = await carry(topic, {
        publishing: bench.connect(first.url),
        consuming: [bench.connect(first.url), bench.connect(second.url)],
        meanwhile: () => move(topic, first),
      })
      expect(await ownerOf(topic)).toBe(first.url)
      await expectAll(topic, done, second.url)
    }, 180_000)

    it('the same through a proxy, whose connections are cut as well', async () => {
      const topic = await topicAt(first)
      const cuts = await faultProxy(proxy)
      const url = through(cuts, proxy)
      const clients = [bench.connect(url), bench.connect(url), bench.connect(url)] as const
      const done = await carry(topic, {
        publishing: clients[0],
        consuming: clients.slice(1),
        async meanwhile() {
          // Each has one for lookups, and one that the proxy joins to the broker: nothing goes past it.
          expect(cuts.connections()).toBe(2 * clients.length)
          await move(topic, second)
          cuts.cut()
        },
      })
      expect(cuts.counts.cut).toBeGreaterThan(0)
      expect(await ownerOf(topic)).toBe(second.url)
      await expectAll(topic, done, proxy)
      await cuts.dispose()
    }, 180_000)

    // The last one: the broker stays dead.
    it('a broker that is killed under traffic loses nothing: its topics go to the other one, past a proxy and through it', async () => {
      const topic = await topicAt(second)
      const done = await carry(topic, {
        publishing: bench.connect(proxy),
        consuming: [bench.connect(`${second.url},${new URL(first.url).host}`), bench.connect(proxy)],
        meanwhile: () => {
          const [, broker] = cluster?.processes() ?? []
          expect(broker && signal(broker, 'SIGKILL', 'group')).toBe(true)
          return Promise.resolve()
        },
      })
      expect(await ownerOf(topic)).toBe(first.url)
      await expectAll(topic, done, first.url)
    }, 240_000)
  })

// A file needs a suite, also where its server is not there.
if (!isFull) describeFull('a cluster of Pulsar', () => it('needs the full run', () => expect(isFull).toBe(true)))
