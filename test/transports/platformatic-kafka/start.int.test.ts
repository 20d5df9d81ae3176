import { readFile } from 'node:fs/promises'
import { Producer } from '@platformatic/kafka'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { pipeline } from 'holdfast'
import {
  platformaticKafkaConsumer,
  platformaticKafkaPublisher,
  type KafkaConnectionOptions,
  type PlatformaticKafkaConsumerOptions,
} from 'holdfast/platformatic-kafka'
import { SASL_USER } from '../../../scripts/services/kafka-properties.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import { privateKafka, type PrivateServer } from '../../support/private-servers.ts'
import { describeWith, kafkaBrokers, uniqueName } from '../../support/services.ts'
import { describeFull } from '../../support/skipped.ts'
import { testKafka, until } from '../kafkajs/support.ts'

const orders = pipeline('orders').handle(() => {})

function run(options: Partial<PlatformaticKafkaConsumerOptions>): Promise<unknown> {
  const consumer = platformaticKafkaConsumer({
    connection: { clientId: 'test', bootstrapBrokers: [...kafkaBrokers()] },
    groupId: uniqueName('group'),
    topics: ['orders'],
    pipeline: orders,
    ...options,
  })
  return consumer.run(new AbortController().signal).catch((error: unknown) => error)
}

describeWith(['kafka'], 'a start that cannot work', () => {
  it('names the topic that does not exist', async () => {
    const topic = uniqueName('missing')
    expect(await run({ topics: [topic] })).toMatchObject({
      code: 'unavailable',
      message: `kafka: topics: '${topic}' does not exist`,
    })
  })

  it('names the brokers that cannot be reached', async () => {
    const connection = { clientId: 'test', bootstrapBrokers: ['127.0.0.1:1'], connectTimeout: 500 }
    expect(await run({ connection })).toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('kafka: bootstrapBrokers: none can be reached:') as unknown,
    })
  })

  it('refuses a second run', async () => {
    const test = await testKafka()
    const topic = await test.topic()
    const consumer = platformaticKafkaConsumer({
      connection: { clientId: 'test', bootstrapBrokers: [...kafkaBrokers()] },
      groupId: uniqueName('group'),
      topics: [topic],
      pipeline: orders,
    })
    const stop = new AbortController()
    const running = consumer.run(stop.signal)
    await expect(consumer.run(stop.signal)).rejects.toMatchObject({ name: 'HoldfastError' })
    stop.abort()
    await running
    await test.dispose()
  })
})

describeFull('@platformatic/kafka against brokers with TLS and SCRAM', () => {
  let server: PrivateServer
  let connection: KafkaConnectionOptions
  beforeAll(async () => {
    server = await privateKafka({ secure: true })
    connection = {
      clientId: 'secured',
      bootstrapBrokers: (server.also['tls'] ?? '').split(','),
      tls: { ca: [await readFile(server.also['ca'] ?? '', 'utf8')] },
      sasl: { mechanism: 'SCRAM-SHA-256', ...SASL_USER },
    }
  })
  afterAll(() => server.dispose())

  it('publishes and consumes', async () => {
    const test = await testKafka({ brokers: server.url.split(',') })
    const topic = await test.topic(2)
    const producer = new Producer({ ...connection, idempotent: true, retries: 3 })
    await platformaticKafkaPublisher(producer).publish([
      outgoing({ destination: topic, id: 'a', body: null }),
      outgoing({ destination: topic, id: 'b', body: null }),
    ])
    const seen: string[] = []
    const stop = new AbortController()
    const running = platformaticKafkaConsumer({
      connection,
      groupId: uniqueName('group'),
      topics: [topic],
      pipeline: pipeline('secured').handle(({ message }) => void seen.push(message.id)),
    }).run(stop.signal)
    await until('both', () => seen.length === 2)
    stop.abort()
    await running
    await producer.close()
    await test.dispose()
    expect(seen.toSorted()).toEqual(['a', 'b'])
  })

  it('PK-21: names the setting of a wrong password and of an unknown certificate', async () => {
    const wrong = { ...connection, sasl: { mechanism: 'SCRAM-SHA-256', username: 'holdfast', password: 'no' } } as const
    expect(await run({ connection: wrong })).toMatchObject({
      message: expect.stringContaining('kafka: sasl:') as unknown,
    })
    expect(await run({ connection: { ...connection, tls: {} } })).toMatchObject({
      message: expect.stringContaining('kafka: tls:') as unknown,
    })
  })
})
