import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { faultProxy } from '../../support/fault-proxy.ts'
import { describeWith, kafkaBrokers, uniqueName } from '../../support/services.ts'
import { managed as kafkajsManaged } from '../kafkajs/managed.ts'
import { numbers, testKafka, until, type TestKafka } from '../kafkajs/support.ts'
import { LedThrough } from './led-through.ts'
import { managed } from './managed.ts'
import { createTopics } from '../../support/kafka-topics.ts'

describeWith(['kafka'], 'groups of members on @platformatic/kafka', () => {
  let test: TestKafka
  beforeAll(async () => {
    test = await testKafka()
  })
  afterAll(() => test.dispose())

  const setUp = async (partitions: number) => ({ topic: await test.topic(partitions), groupId: uniqueName('group') })
  const keyed = (count: number, from = 0) =>
    Array.from({ length: count }, (_, n) => ({
      key: `k${n % 100}`,
      value: String(n),
      headers: { 'message-id': `m${from + n}` },
    }))

  /** Counts deliveries, and says which messages of a key came out of order. */
  function ledger() {
    const deliveries: string[] = []
    const last = new Map<string, number>()
    const faults: string[] = []
    const handler = async ({ message: { id, key } }: { message: { id: string; key: string | null } }) => {
      deliveries.push(id)
      await sleep(5)
      const n = Number(id.slice(1))
      if (n < (last.get(key ?? '') ?? -1)) faults.push(`${key}: ${n} after ${last.get(key ?? '')}`)
      last.set(key ?? '', n)
    }
    return { deliveries, faults, handler }
  }

  describe.each(['classic', 'consumer'] as const)('with the %s protocol', (groupProtocol) => {
    it('K-8: members that join and leave under load repeat nothing, and keep every key in order', async () => {
      const { topic, groupId } = await setUp(12)
      const count = 6000
      await test.send(topic, keyed(count))
      const { deliveries, faults, handler } = ledger()
      const join = () => managed(topic, groupId, handler, { concurrency: 16, groupProtocol })
      const first = join()
      await until('a start', () => deliveries.length > 300)
      const second = join()
      await until('both', () => second.changed('joined').length > 0 && deliveries.length > 1500)
      const third = join()
      await until('three', () => third.changed('joined').length > 0 && deliveries.length > 3000)
      await first.stop()
      await until('all', () => new Set(deliveries).size === count, 40_000)
      await Promise.all([second.stop(), third.stop()])
      expect(deliveries.length).toBe(count)
      expect(faults).toEqual([])
      expect([...first.changed('lost'), ...second.changed('lost')]).toEqual([])
    })

    it('PK-4, K-9: gives a partition away only after its handler has ended, however long the session is', async () => {
      const { topic, groupId } = await setUp(2)
      await test.send(
        topic,
        [0, 1].map((partition) => ({ partition, key: 'k', headers: { 'message-id': `slow ${partition}` } })),
      )
      const deliveries: string[] = []
      const handler = async ({ message }: { message: { id: string } }) => {
        deliveries.push(message.id)
        await sleep(6000)
      }
      const options = { groupProtocol, drainMs: 9000, rebalanceMs: 15_000 }
      const first = managed(topic, groupId, handler, options)
      await until('the handlers', () => deliveries.length === 2)
      const second = managed(topic, groupId, handler, options)
      const owned = () => second.health().details['partitions'] as readonly unknown[] | undefined
      await until('the second owns one', () => owned()?.length === 1)
      expect(first.changed('lost')).toEqual([])
      await Promise.all([first.stop(), second.stop()])
      expect(deliveries.toSorted()).toEqual(['slow 0', 'slow 1'])
    })

    it('PK-1: a topic that is deleted and made anew is read from its beginning, and that is told', async () => {
      const { topic, groupId } = await setUp(1)
      await test.send(topic, numbers(50, 'k'))
      const seen: string[] = []
      const one = managed(topic, groupId, ({ message }) => void seen.push(message.id), { groupProtocol })
      await until('the old ones', () => seen.length === 50)
      await until('committed', async () => (await test.committed(groupId, topic)) === 50)
      await test.admin.deleteTopics({ topics: [topic] })
      await sleep(1000)
      await createTopics(test.admin, [{ topic, numPartitions: 1 }])
      await test.send(
        topic,
        Array.from({ length: 80 }, (_, n) => ({ key: 'k', headers: { 'message-id': `new ${n}` } })),
      )
      await until('the new ones', () => seen.length === 130, 30_000)
      expect(one.changed('out-of-range').length).toBeGreaterThan(0)
      await one.stop()
    })

    it('PK-2, PK-3, K-17: a member that was cut off past its session joins anew and commits nothing backwards', async () => {
      const { topic, groupId } = await setUp(1)
      await test.send(topic, numbers(30, 'k'))
      const [broker = ''] = kafkaBrokers()
      const proxy = await faultProxy(broker)
      const seen: string[] = []
      const cut = managed(
        topic,
        groupId,
        async ({ message }) => {
          seen.push(message.id)
          await sleep(100)
        },
        {
          groupProtocol,
          connection: {
            clientId: 'cut',
            bootstrapBrokers: [...kafkaBrokers()],
            context: new LedThrough(proxy.port),
          },
        },
      )
      await until('a start', () => seen.length >= 5)
      proxy.silence()
      const other: string[] = []
      const second = managed(topic, groupId, ({ message }) => void other.push(message.id), { groupProtocol })
      await until('the other has all', async () => (await test.committed(groupId, topic)) === 30, 40_000)
      const joins = cut.changed('joined').length
      proxy.restore()
      await until('joined anew', () => cut.changed('joined').length > joins, 40_000)
      await sleep(1000)
      expect(await test.committed(groupId, topic)).toBe(30)
      expect(cut.changed('silent').length + cut.changed('lost').length).toBeGreaterThan(0)
      await Promise.all([cut.stop(), second.stop()])
      await proxy.dispose()
    })

    it('K-16, PK-6, PK-7: delivers no message of an aborted transaction, and goes past its markers', async () => {
      const { topic, groupId } = await setUp(1)
      const producer = test.kafka.producer({
        transactionalId: uniqueName('tx'),
        idempotent: true,
        maxInFlightRequests: 1,
      })
      await producer.connect()
      for (const [round, verb] of (['abort', 'abort', 'commit', 'abort', 'commit', 'abort'] as const).entries()) {
        const transaction = await producer.transaction()
        const messages = [0, 1, 2].map((n) => ({
          key: 'k',
          value: 'x',
          headers: { 'message-id': `${verb} ${round}.${n}` },
        }))
        await transaction.send({ topic, messages })
        await transaction[verb]()
      }
      await producer.disconnect()
      const seen: string[] = []
      const one = managed(topic, groupId, ({ message }) => void seen.push(message.id), {
        groupProtocol,
        // One fetch may end before the marker that aborts what it brings.
        maxBytesPerPartition: 200,
      })
      // 6 rounds of 3 messages and a marker.
      await until('past the last marker', async () => (await test.committed(groupId, topic)) === 24)
      await one.stop()
      expect(seen).toEqual(['commit 2.0', 'commit 2.1', 'commit 2.2', 'commit 4.0', 'commit 4.1', 'commit 4.2'])
    })

    it('begins where `startFrom` says, where the group has committed nothing', async () => {
      const { topic, groupId } = await setUp(1)
      await test.send(topic, numbers(5, 'k'))
      const seen: string[] = []
      const one = managed(topic, groupId, ({ message }) => void seen.push(message.id), {
        groupProtocol,
        startFrom: 'latest',
      })
      await until('a member', () => one.changed('joined').some(({ detail }) => detail?.['partitions'] === 1))
      await sleep(500)
      await test.send(topic, [{ key: 'k', headers: { 'message-id': 'later' } }])
      await until('the later one', () => seen.includes('later'))
      await one.stop()
      expect(seen).toEqual(['later'])
    })
  })

  it('moves a live group from kafkajs to the classic and on to the consumer protocol, and repeats nothing', async () => {
    const { topic, groupId } = await setUp(6)
    const count = 3000
    const { deliveries, faults, handler } = ledger()
    const sending = (async () => {
      for (let from = 0; from < count; from += 100) {
        await test.send(topic, keyed(100, from))
        await sleep(150)
      }
    })()
    const options = { concurrency: 16, rebalanceMs: 10_000 }
    const old = [kafkajsManaged(topic, groupId, handler, options), kafkajsManaged(topic, groupId, handler, options)]
    await until('kafkajs reads', () => deliveries.length > 300)
    const classic = [managed(topic, groupId, handler, options), managed(topic, groupId, handler, options)]
    for (const one of old) await one.stop()
    const before = deliveries.length
    await until('classic reads', () => deliveries.length > before + 300)
    const newest = [0, 1].map(() => managed(topic, groupId, handler, { ...options, groupProtocol: 'consumer' }))
    for (const one of classic) await one.stop()
    await sending
    await until('all', () => new Set(deliveries).size === count, 60_000)
    for (const one of newest) await one.stop()
    expect(deliveries.length).toBe(count)
    expect(faults).toEqual([])
  }, 120_000)
})
