import { setTimeout as sleep } from 'node:timers/promises'
import { memoryIdempotencyStore } from 'holdfast/memory'
import { pulsarPublisher } from 'holdfast/pulsar'
import { afterEach, expect, it } from 'vitest'
import type { Delivery } from '../../../src/core/delivery.ts'
import { isPublishError, PermanentError, RetryLater } from '../../../src/core/errors.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import { deadLetter } from '../../../src/dead-letter/dead-letter.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import type { IdempotencyStore } from '../../../src/idempotency/store.ts'
import { retry } from '../../../src/retry/retry.ts'
import { faultProxy } from '../../support/fault-proxy.ts'
import { pulsarThrough } from '../../support/pulsar-through.ts'
import { describeWith, pulsarUrl, uniqueName } from '../../support/services.ts'
import { describeFull, isFull } from '../../support/skipped.ts'
import { until } from '../rabbitmq/support.ts'
import { numbered, ofKey, PulsarBench } from './bench.ts'
import { arrivedAt, clientThrough } from './support.ts'

const redeliveries = ({ raw }: Delivery): number => (raw as { readonly redeliveryCount: number }).redeliveryCount

if (isFull)
  describeWith(['pulsar'], 'Pulsar, what its broker does', () => {
    const bench = new PulsarBench()
    afterEach(() => bench.close())

    it('P-1: a tombstone of somebody else arrives, and what is behind it too', async () => {
      const topic = uniqueName('topic')
      await bench.sendRaw(topic, { partitionKey: 'k', isNull: true }, Buffer.alloc(0))
      await pulsarPublisher(bench.connect()).publish(numbered(topic, 3))
      const bodies: unknown[] = []
      const { end } = bench.member(topic, ({ message }) => void bodies.push(message.body))
      await until('all', () => bodies.length === 4)
      await end()
      expect(bodies.filter((body) => body === null)).toHaveLength(1)
    })

    it('P-3: deaths are counted by the claim, since the broker counts none: poison that kills is dead-lettered', async () => {
      const [topic, letters] = [uniqueName('topic'), uniqueName('letters')]
      const publisher = pulsarPublisher(bench.connect())
      await publisher.publish([outgoing({ destination: topic, id: 'poison', key: 'k', body: null })])
      const store = memoryIdempotencyStore()
      const counts: number[] = []
      for (let life = 1; life <= 3; life++) {
        const client = bench.connect()
        const dead = Promise.withResolvers<void>()
        let isDead = false
        const { end } = bench.member(topic, () => {}, {
          client,
          pipeline: pipeline('orders')
            .use(idempotency({ store: mortal(store, () => isDead), leaseMs: 500 }))
            .use(retry({ maxAttempts: 3 }))
            .handle((delivery) => {
              counts.push(redeliveries(delivery))
              isDead = true
              client.close()
              dead.resolve()
              return new Promise<void>(() => {})
            }),
        })
        await dead.promise
        void end()
      }
      let ran = 0
      const last = bench.member(topic, () => {}, {
        pipeline: pipeline('orders')
          .use(deadLetter({ to: publisher, destination: letters }))
          .use(idempotency({ store, leaseMs: 500 }))
          .use(retry({ maxAttempts: 3 }))
          .handle(() => void ran++),
      })
      await until('the dead letter', async () => (await arrivedAt(letters)).length === 1)
      await last.end()
      expect({ counts, ran }).toEqual({ counts: [0, 0, 0], ran: 0 })
    })

    it.each(['Key_Shared', 'Failover'] as const)(
      'P-6: a message that waits is given by the broker once, and nothing of its key passes it: %s',
      async (type) => {
        const topic = uniqueName('topic')
        await pulsarPublisher(bench.connect()).publish(numbered(topic, 60, 3))
        const done: string[] = []
        const starts: number[] = []
        let failures = 0
        const one = bench.member(
          topic,
          (delivery) => {
            starts.push(redeliveries(delivery))
            if (delivery.message.id === 'm3' && failures++ < 5) throw new RetryLater(60)
            done.push(delivery.message.id)
          },
          { type },
        )
        await until('all', () => done.length === 60)
        await one.end()
        expect(starts).toHaveLength(65)
        expect(starts.every((count) => count === 0)).toBe(true)
        for (let key = 0; key < 3; key++) {
          const mine = ofKey(done, key, 3)
          expect(mine).toEqual(mine.toSorted((a, b) => a - b))
        }
      },
    )

    it('P-7: a message that is too large is refused alone, and the connection lives', async () => {
      const topic = uniqueName('topic')
      const client = bench.connect()
      const publisher = pulsarPublisher(client)
      const connection = await client.connectionFor(topic)
      const large = outgoing({ destination: topic, id: 'large', key: 'k', body: Buffer.alloc(6 * 1024 * 1024) })
      const beside = publisher.publish(numbered(topic, 50))
      const refused = await publisher.publish([large, ...numbered(topic, 1, 5, 50)]).catch((error: unknown) => error)
      await beside
      expect(isPublishError(refused) && refused.failures.map(({ index, permanent }) => [index, permanent])).toEqual([
        [0, true],
      ])
      expect(connection.error).toBeUndefined()
      expect(await arrivedAt(topic)).toHaveLength(51)
    })

    it.each([
      ['by its own keep-alive', 1_000],
      ['by that of the broker, which is 4 s here', 60_000],
    ])(
      'P-8: the keys of a member that says nothing more go to another: %s',
      async (_, keepAliveMs) => {
        const topic = uniqueName('topic')
        const proxy = await faultProxy(pulsarUrl())
        const client = pulsarThrough(proxy.address, { keepAliveMs })
        bench.clients.push(client)
        const held = new Set<string>()
        const stays = async ({ message, signal }: Delivery): Promise<void> => {
          held.add(message.id)
          await sleep(60_000, undefined, { signal })
        }
        const silent = bench.member(topic, stays, { client })
        await until('it is there', () => silent.consumer.health().ready)
        await pulsarPublisher(bench.connect()).publish(numbered(topic, 5))
        await until('it holds them', () => held.size === 5)
        proxy.silence()
        const seen: string[] = []
        const other = bench.member(topic, ({ message }) => void seen.push(message.id))
        await until('it knows', () => !silent.consumer.health().ready)
        await until('the other has them', () => seen.length === 5)
        await Promise.all([silent.end(), other.end()])
        await proxy.dispose()
      },
      60_000,
    )

    it("P-11: a window above the broker's limit of unacked messages goes on as they are acked", async () => {
      const namespace = `public/${uniqueName('limited')}`
      await bench.admin(`namespaces/${namespace}`, 'PUT')
      await bench.admin(`namespaces/${namespace}/maxUnackedMessagesPerConsumer`, 'POST', 20)
      const topic = `persistent://${namespace}/topic`
      await pulsarPublisher(bench.connect()).publish(numbered(topic, 200, 50))
      const seen: string[] = []
      let held = true
      const one = bench.member(
        topic,
        ({ message }) => {
          // Its messages stay unacked, and take their part of the limit.
          if (message.key === 'k0' && held) throw new RetryLater(50)
          seen.push(message.id)
        },
        { window: 100 },
      )
      await until('all other keys', () => seen.length === 196)
      held = false
      await until('all', () => seen.length === 200)
      await one.end()
    })

    it('P-13: a new subscription begins at the earliest message, unless it is told to begin at the latest', async () => {
      const topic = uniqueName('topic')
      const publisher = pulsarPublisher(bench.connect())
      await publisher.publish(numbered(topic, 10))
      const [early, late]: [string[], string[]] = [[], []]
      const one = bench.member(topic, ({ message }) => void early.push(message.id))
      const options = { subscription: 'late', startFrom: 'latest' } as const
      const two = bench.member(topic, ({ message }) => void late.push(message.id), options)
      await until('both', () => one.consumer.health().ready && two.consumer.health().ready)
      await publisher.publish(numbered(topic, 1, 5, 10))
      await until('the new one', () => early.length === 11 && late.length === 1)
      await Promise.all([one.end(), two.end()])
      expect(late).toEqual(['m10'])
    })

    it('P-14: a terminated topic is a refusal for good, also for a producer that was there before', async () => {
      const topic = uniqueName('topic')
      const publisher = pulsarPublisher(bench.connect(), { timeoutMs: 10_000 })
      await publisher.publish(numbered(topic, 1))
      await bench.admin(`persistent/public/default/${topic}/terminate`, 'POST')
      const refused = await publisher.publish(numbered(topic, 1, 5, 1)).catch((error: unknown) => error)
      expect(isPublishError(refused) && refused.failures[0]?.permanent).toBe(true)
      expect(String(refused)).toContain('TopicTerminatedError')
    })

    it('P-15: an answer to a subscribe that is lost leaves one consumer at the broker, and all messages arrive', async () => {
      const topic = uniqueName('topic')
      const proxy = await faultProxy(pulsarUrl())
      const client = clientThrough(proxy)
      bench.clients.push(client)
      proxy.loseReply((request) => request.includes('billing'))
      const seen: string[] = []
      const one = bench.member(topic, ({ message }) => void seen.push(message.id), { client })
      await until('it is there', () => one.consumer.health().ready)
      expect(proxy.counts.lostReplies).toBe(1)
      await pulsarPublisher(bench.connect()).publish(numbered(topic, 200, 40))
      await until('all', () => seen.length === 200)
      const stats = (await bench.admin(`persistent/public/default/${topic}/stats`)) as {
        readonly subscriptions: { readonly billing: { readonly consumers: readonly unknown[] } }
      }
      expect(stats.subscriptions.billing.consumers).toHaveLength(1)
      await one.end()
      await proxy.dispose()
    })

    it('P-16: a message that failed for good is dead-lettered before it is acked, and its key goes on', async () => {
      const [topic, letters] = [uniqueName('topic'), uniqueName('letters')]
      const publisher = pulsarPublisher(bench.connect())
      await publisher.publish(numbered(topic, 6, 1))
      const seen: string[] = []
      const steps = pipeline('orders')
        .use(deadLetter({ to: publisher, destination: letters }))
        .handle(({ message }) => {
          if (message.id === 'm2') throw new PermanentError('no such order')
          seen.push(message.id)
        })
      const one = bench.member(topic, () => {}, { pipeline: steps })
      await until('the others', () => seen.length === 5)
      await one.end()
      expect((await arrivedAt(letters)).map(({ id, key }) => [id, key])).toEqual([['m2', 'k0']])
      const again: string[] = []
      const two = bench.member(topic, ({ message }) => void again.push(message.id))
      await until('it is there', () => two.consumer.health().ready)
      await sleep(200)
      await two.end()
      expect(again).toEqual([])
    })
  })

/** A store that nobody hears any more once its process is dead. */
function mortal(store: IdempotencyStore, isDead: () => boolean): IdempotencyStore {
  return new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name)
      if (typeof value !== 'function') return value
      return (...asked: unknown[]): unknown =>
        isDead() ? new Promise(() => {}) : (Reflect.apply(value, target, asked) as unknown)
    },
  })
}

// A file needs a suite, also where its server is not there.
if (!isFull)
  describeFull('Pulsar, what its broker does', () => it('needs the full run', () => expect(isFull).toBe(true)))
