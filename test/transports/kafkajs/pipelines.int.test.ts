import { setTimeout as sleep } from 'node:timers/promises'
import type { Producer } from 'kafkajs'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { z } from 'zod'
import { json } from '../../../src/codecs/json.ts'
import { deadLetter } from '../../../src/dead-letter/dead-letter.ts'
import type { Delivery } from '../../../src/core/delivery.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { eachMessage, kafkajsPublisher } from '../../../src/transports/kafkajs/index.ts'
import { describeWith, uniqueName } from '../../support/services.ts'
import { managed } from './managed.ts'
import { testKafka, until, type TestKafka } from './support.ts'
import { createTopics } from '../../support/kafka-topics.ts'

describeWith(['kafka'], 'whole pipelines on real Kafka', () => {
  let test: TestKafka
  let producer: Producer
  beforeAll(async () => {
    test = await testKafka({ retry: { retries: 2, initialRetryTime: 50 } })
    producer = test.kafka.producer({ idempotent: true, allowAutoTopicCreation: false })
    await producer.connect()
  })
  afterAll(async () => {
    await producer.disconnect()
    await test.dispose()
  })

  const setUp = async () => ({ topic: await test.topic(), groupId: uniqueName('group') })
  const order = z.object({ n: z.number() })

  async function readRaw(topic: string, count: number) {
    const records: { value: Buffer | null; key: Buffer | null }[] = []
    const consumer = await test.consumer(topic, uniqueName('group'))
    await consumer.run({ eachMessage: async ({ message }) => void records.push(message) })
    await until(`${count} records in ${topic}`, () => records.length >= count)
    await consumer.stop()
    return records
  }

  it.each(['eachMessage', 'managed'] as const)(
    'undecodable and oversized messages end in the dead letter with their bytes untouched; hostile headers are handled (%s)',
    async (form) => {
      const { topic, groupId } = await setUp()
      const dead = await test.topic()
      const bad = Buffer.from([0xff, 0xfe, 0x00])
      const huge = Buffer.from(JSON.stringify({ n: 1, padding: 'x'.repeat(5000) }))
      const hostile = JSON.parse('{"__proto__":"x","constructor":"y"}') as Record<string, string>
      await test.send(topic, [
        { key: 'k', value: bad },
        { key: 'k', value: huge },
        { key: 'k', value: JSON.stringify({ n: 2 }), headers: { ...hostile, baggage: 'b'.repeat(65_536) } },
        { key: 'k', value: JSON.stringify({ n: 3 }), headers: { raw: Buffer.from([0xff]) } },
      ])
      const seen: number[] = []
      const orders = pipeline('orders')
        .use(deadLetter({ to: kafkajsPublisher(producer), destination: dead }))
        .decode(json(order, { maxBytes: 2000 }))
        .handle(({ message }) => void seen.push(message.body.n))
      const plain = form === 'eachMessage' ? await test.consumer(topic, groupId) : undefined
      await plain?.run({ eachMessage: eachMessage(orders) })
      const consumer = plain === undefined ? managed(topic, groupId, () => {}, { pipeline: orders }) : undefined
      await until('the good ones', () => seen.length === 2)
      const records = await readRaw(dead, 2)
      expect(records.map(({ value }) => value)).toEqual([bad, huge])
      expect(records.map(({ key }) => key?.toString())).toEqual(['k', 'k'])
      expect(seen).toEqual([2, 3])
      await plain?.stop()
      await consumer?.stop()
      expect(await test.committed(groupId, topic)).toBe(4)
    },
  )

  it('B-7: while the dead letter takes nothing, the message is nacked and nothing is committed past it', async () => {
    const { topic, groupId } = await setUp()
    const dead = uniqueName('dead')
    await test.send(topic, [{ key: 'k', value: 'not json' }])
    const orders = pipeline('orders')
      .use(deadLetter({ to: kafkajsPublisher(producer), destination: dead }))
      .decode(json(order))
      .handle(() => {})
    const consumer = managed(topic, groupId, () => {}, { pipeline: orders })
    await sleep(3000)
    expect(await test.committed(groupId, topic)).toBeLessThanOrEqual(0)
    await createTopics(test.admin, [{ topic: dead }])
    const [record] = await readRaw(dead, 1)
    expect(record?.value?.toString()).toBe('not json')
    await until('acked', async () => (await test.committed(groupId, topic)) === 1)
    await consumer.stop()
  })

  it('handleBatch gets batches with at most one message of a key, in order, and fails message by message', async () => {
    const { topic, groupId } = await setUp()
    const count = 200
    await test.send(
      topic,
      Array.from({ length: count }, (_, n) => ({ key: `k${n % 20}`, value: JSON.stringify({ n }) })),
    )
    const sizes: number[] = []
    const handled: number[] = []
    const faults: string[] = []
    const failedOnce = new Set<number>()
    const orders = pipeline('orders')
      .decode(json(order))
      .handleBatch({ maxSize: 50, maxWaitMs: 10 }, async (deliveries) => {
        sizes.push(deliveries.length)
        const keys = deliveries.map(({ message }) => message.key)
        if (new Set(keys).size !== keys.length) faults.push(`a key twice in ${keys.join(' ')}`)
        await sleep(5)
        const failures = deliveries.filter(({ message: { body } }) => body.n % 17 === 0 && !failedOnce.has(body.n))
        const ok = deliveries.filter((delivery) => !failures.includes(delivery))
        for (const { message } of failures) failedOnce.add(message.body.n)
        handled.push(...ok.map(({ message }) => message.body.n))
        return failures.map((delivery: Delivery<{ n: number }>) => ({ delivery, error: new Error('this one') }))
      })
    const consumer = managed(topic, groupId, () => {}, { pipeline: orders })
    await until('all', async () => (await test.committed(groupId, topic)) === count)
    await consumer.stop()
    expect(faults).toEqual([])
    expect(handled.toSorted((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, n) => n))
    for (let key = 0; key < 20; key++) {
      const of = handled.filter((n) => n % 20 === key)
      expect(of).toEqual(of.toSorted((a, b) => a - b))
    }
    expect(Math.max(...sizes)).toBeGreaterThan(1)
  })
})
