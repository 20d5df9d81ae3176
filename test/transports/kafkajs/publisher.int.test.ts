import type { Producer } from 'kafkajs'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { isPublishError } from '../../../src/core/errors.ts'
import { headersFrom } from '../../../src/core/message.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import { eachMessage, kafkajsPublisher } from '../../../src/transports/kafkajs/index.ts'
import { describeWith, uniqueName } from '../../support/services.ts'
import { testKafka, until, type TestKafka } from './support.ts'

describeWith(['kafka'], 'kafkajsPublisher on real Kafka', () => {
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

  async function read(topic: string, count: number) {
    const seen: {
      id: string
      key: string | null
      type: string
      headers: Readonly<Record<string, unknown>>
      timeMs: number
    }[] = []
    const consumer = await test.consumer(topic, uniqueName('group'))
    const all = pipeline('read').handle(({ message }) => void seen.push(message))
    await consumer.run({ eachMessage: eachMessage(all) })
    await until(`${count} messages`, () => seen.length >= count)
    await consumer.stop()
    return seen
  }

  it('publishes to several topics, each key in order, and carries id, type, time, key and headers', async () => {
    const [one, two] = [await test.topic(3), await test.topic()]
    const headers = headersFrom([
      ['many', ['a', 'b']],
      ['__proto__', 'p'],
    ])
    const messages = Array.from({ length: 60 }, (_, n) =>
      outgoing({
        destination: n % 3 === 0 ? two : one,
        id: `m${n}`,
        key: `k${n % 5}`,
        type: 'placed',
        timeMs: 1234,
        headers,
        body: null,
      }),
    )
    await kafkajsPublisher(producer).publish(messages)
    const seen = [...(await read(one, 40)), ...(await read(two, 20))]
    expect(seen).toHaveLength(60)
    expect(seen[0]).toMatchObject({ type: 'placed', timeMs: 1234 })
    expect(seen[0]?.headers['many']).toEqual(['a', 'b'])
    expect(seen[0]?.headers['__proto__']).toBe('p')
    for (const topic of [one, two])
      for (const key of new Set(messages.map((message) => message.key))) {
        const of = (all: readonly { id: string; key: string | null }[]) =>
          all.filter((m) => m.key === key).map((m) => m.id)
        const sent = of(messages.filter((message) => message.destination === topic))
        expect(of(seen).filter((id) => sent.includes(id))).toEqual(sent)
      }
  })

  it('names the oversized message as permanent, and publishes the others', async () => {
    const topic = await test.topic(1, { 'max.message.bytes': '1000' })
    const body = (n: number) => Buffer.alloc(n === 3 ? 5000 : 10)
    const messages = Array.from({ length: 6 }, (_, n) =>
      outgoing({ destination: topic, id: `m${n}`, key: 'k', body: body(n) }),
    )
    const error: unknown = await kafkajsPublisher(producer)
      .publish(messages)
      .catch((caught: unknown) => caught)
    expect(isPublishError(error) && error.failures.map(({ index, permanent }) => [index, permanent])).toEqual([
      [3, true],
    ])
    const ids = (await read(topic, 5)).map(({ id }) => id)
    expect(new Set(ids)).toEqual(new Set(['m0', 'm1', 'm2', 'm4', 'm5']))
  })

  it.each(['not a topic name!', uniqueName('missing')])(
    'names every message to an unknown topic as permanent, and publishes the others: %s',
    async (missing) => {
      const topic = await test.topic()
      const messages = [topic, missing, topic, missing].map((destination, n) =>
        outgoing({ destination, id: `m${n}`, body: null }),
      )
      const error: unknown = await kafkajsPublisher(producer)
        .publish(messages)
        .catch((caught: unknown) => caught)
      expect(isPublishError(error) && error.failures.map(({ index, permanent }) => [index, permanent])).toEqual([
        [1, true],
        [3, true],
      ])
      expect(new Set((await read(topic, 2)).map(({ id }) => id))).toEqual(new Set(['m0', 'm2']))
    },
  )

  it('O-17: a confirmation that never comes is an outage, after our own time-out', async () => {
    const stuck = { sendBatch: () => new Promise<never>(() => {}) }
    const error: unknown = await kafkajsPublisher(stuck, { timeoutMs: 50 })
      .publish([outgoing({ destination: 't', body: null })])
      .catch((caught: unknown) => caught)
    expect(error).toMatchObject({ code: 'unavailable' })
  })

  it('rejects with an outage, not with a PublishError, where the broker cannot be reached', async () => {
    const away = test.kafka.producer({ idempotent: true })
    const error: unknown = await kafkajsPublisher(away)
      .publish([outgoing({ destination: 'orders', body: null })])
      .catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(Error)
    expect(isPublishError(error)).toBe(false)
  })

  it('refuses options that would confirm nothing', () => {
    expect(() => kafkajsPublisher(producer, { acks: 0 as 1 })).toThrow(
      'kafkajsPublisher: acks must be one of -1, 1, got 0',
    )
    expect(() => kafkajsPublisher(producer, { timeoutMs: 0 })).toThrow('kafkajsPublisher: timeoutMs')
  })
})
