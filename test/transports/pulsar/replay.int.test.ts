import { pulsarConsumer, pulsarPublisher, pulsarReplay, type PulsarReplayOptions } from 'holdfast/pulsar'
import { afterEach, expect, it } from 'vitest'
import { staged, type Middleware } from '../../../src/core/delivery.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { describeWith, uniqueName } from '../../support/services.ts'
import { describeFull, isFull } from '../../support/skipped.ts'
import { until } from '../rabbitmq/support.ts'
import { numbered, PulsarBench } from './bench.ts'
import { pulsarWeb } from './support.ts'

const remembering = pipeline('orders')
  .use(
    staged<Middleware>((next) => next, {
      name: 'idempotency',
      facts: { store: 'postgresql', retainMs: 7 * 86_400_000 },
    }),
  )
  .handle(() => {})

if (isFull)
  describeWith(['pulsar'], 'the replay of Pulsar', () => {
    const bench = new PulsarBench()
    afterEach(() => bench.close())

    const replayed = (topic: string, options: Partial<PulsarReplayOptions> = {}) =>
      pulsarReplay({
        ...{ client: bench.connect(), webUrl: pulsarWeb(), subscription: 'billing', topics: [topic] },
        ...{ pipeline: remembering, from: new Date(0), scope: { own: 'again' } },
        ...options,
      })

    async function handle(topic: string, count: number): Promise<void> {
      const seen = new Set<string>()
      const one = bench.member(topic, ({ message }) => void seen.add(message.id))
      await until(`${count} messages`, () => seen.size === count)
      await one.end()
    }

    it('goes back over the end of a ledger', async () => {
      const namespace = `public/${uniqueName('kept')}`
      await bench.admin(`namespaces/${namespace}`, 'PUT')
      const retention = { retentionTimeInMinutes: 60, retentionSizeInMB: 100 }
      await bench.admin(`namespaces/${namespace}/retention`, 'POST', retention)
      const topic = `persistent://${namespace}/topic`
      const publisher = pulsarPublisher(bench.connect())
      await publisher.publish(numbered(topic, 10))
      await handle(topic, 10)
      await bench.admin(`${topic.replace('://', '/')}/unload`, 'PUT')
      await publisher.publish(numbered(topic, 10, 5, 10))
      await handle(topic, 10)
      await publisher.close()
      const { messages, partitions, plan } = await replayed(topic)
      expect(messages).toBe(20)
      expect(partitions).toMatchObject([{ name: topic, messages: 20 }])
      const seen: (boolean | undefined)[] = []
      const again = bench.member(topic, ({ replay }) => void seen.push(replay), { replay: plan })
      await until('all again', () => seen.length === 20)
      await again.end()
      expect(seen.every((replay) => replay === true)).toBe(true)
    })

    it('refuses a group that somebody joined while it was counted, and moves nothing', async () => {
      const topic = uniqueName('topic')
      await pulsarPublisher(bench.connect()).publish(numbered(topic, 10))
      await handle(topic, 10)
      const seen: string[] = []
      const joining = {
        async oldestKeyMs() {
          const { consumer } = bench.member(topic, ({ message }) => void seen.push(message.id))
          await until('it joined', () => consumer.health().ready)
          return 0
        },
      }
      await expect(replayed(topic, joining)).rejects.toMatchObject({
        code: 'bad-order',
        message: expect.stringContaining('Stop its members first') as string,
      })
      expect(seen).toEqual([])
    })

    it('moves all partitions of a topic', async () => {
      const topic = uniqueName('topic')
      await bench.admin(`persistent/public/default/${topic}/partitions`, 'PUT', 3)
      await pulsarPublisher(bench.connect()).publish(numbered(topic, 60, 12))
      await handle(topic, 60)
      const { messages, plan, partitions } = await replayed(topic)
      expect(messages).toBe(60)
      expect(partitions.map(({ name }) => name)).toEqual([0, 1, 2].map((number) => `${topic}-partition-${number}`))
      const scopes = new Map<string, string | undefined>()
      const again = bench.member(topic, ({ message, replayScope }) => void scopes.set(message.id, replayScope), {
        replay: plan,
      })
      await until('all again', () => scopes.size === 60)
      await again.end()
      expect([...new Set(scopes.values())]).toEqual(['again'])
    })

    it('says what the web service says where it cannot be asked', async () => {
      await expect(replayed(uniqueName('topic'))).rejects.toMatchObject({
        code: 'unavailable',
        message: expect.stringMatching(/answers 404/) as string,
      })
      await expect(replayed(uniqueName('topic'), { webUrl: 'http://127.0.0.1:1' })).rejects.toMatchObject({
        code: 'unavailable',
        message: expect.stringContaining('does not answer at http://127.0.0.1:1') as string,
      })
    })

    it('takes a plan of its own subscription only', () => {
      const plan = { group: 'another', scope: null, atMs: 0, partitions: {} }
      const options = { client: bench.connect(), subscription: 'billing', topics: ['t'], pipeline: remembering }
      expect(() => pulsarConsumer({ ...options, replay: plan })).toThrow(/the plan of group 'billing'/)
    })
  })

// A file needs a suite, also where its server is not there.
if (!isFull) describeFull('Pulsar, the replay', () => it('needs the full run', () => expect(isFull).toBe(true)))
