import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  AclOperationTypes,
  AclPermissionTypes,
  AclResourceTypes,
  Kafka,
  logLevel,
  ResourcePatternTypes,
  type KafkaConfig,
  type SASLOptions,
} from 'kafkajs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SASL_USER } from '../../../scripts/services/kafka-properties.ts'
import { stop } from '../../../scripts/services/processes.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import type { Consumer } from '../../../src/consumer/consumer.ts'
import { eachMessage, kafkajsConsumer, kafkajsPublisher } from '../../../src/transports/kafkajs/index.ts'
import { platformaticKafkaConsumer } from '../../../src/transports/platformatic-kafka/index.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { privateKafka, type PrivateServer } from '../../support/private-servers.ts'
import { uniqueName } from '../../support/services.ts'
import { describeFull } from '../../support/skipped.ts'
import { managed } from './managed.ts'
import { testKafka, until, type TestKafka } from './support.ts'

const quiet = {
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 100, retries: 3 },
} satisfies Partial<KafkaConfig>

describeFull('brokers of its own', () => {
  describe('one broker that stops and comes back', () => {
    let server: PrivateServer
    let test: TestKafka
    beforeAll(async () => {
      server = await privateKafka()
      test = await testKafka({ brokers: server.url.split(','), retry: { retries: 20, maxRetryTime: 1000 } })
    })
    afterAll(async () => {
      await test.dispose()
      await server.dispose()
    })

    it.each(['kafkajs', '@platformatic/kafka'] as const)(
      '%s says that a broker that stands still gives no messages, and goes on once it moves again',
      async (client) => {
        const topic = await test.topic(1)
        const seen: string[] = []
        const brokers = server.url.split(',')
        const options = {
          groupId: uniqueName('group'),
          topics: [topic],
          pipeline: pipeline('still').handle(({ message }) => void seen.push(message.id)),
        }
        const consumer =
          client === 'kafkajs'
            ? kafkajsConsumer({ kafka: new Kafka({ brokers, ...quiet }), ...options })
            : platformaticKafkaConsumer({ connection: { clientId: 'still', bootstrapBrokers: brokers }, ...options })
        const stopping = new AbortController()
        const running = consumer.run(stopping.signal)
        const send = (id: string) => test.send(topic, [{ value: id, headers: { 'message-id': id } }])
        await send('before')
        await until('the message before', () => seen.length === 1)
        // By now it is a fetch that gets no answer, and not the heartbeat after a batch.
        await sleep(2_000)
        await server.kill('SIGSTOP')
        try {
          await until('the reason', () => reasonsOf(consumer).some((each) => each.startsWith(unfetched)), 40_000)
        } finally {
          await server.kill('SIGCONT')
        }
        await send('after')
        await until('the message after', () => seen.includes('after'), 60_000)
        await until('ready again', () => consumer.health().ready, 30_000)
        stopping.abort()
        await running
      },
      180_000,
    )

    it.each(['managed', 'eachMessage'] as const)(
      'waits, and goes on by itself (%s)',
      async (form) => {
        const [topic, groupId] = [await test.topic(4), uniqueName('group')]
        const client = { brokers: server.url.split(','), ...quiet }
        const seen = new Set<string>()
        const handler = ({ message }: { message: { id: string } }) => void seen.add(message.id)
        const send = (from: number) =>
          test.send(
            topic,
            Array.from({ length: 100 }, (_, n) => ({ key: `k${n % 7}`, headers: { 'message-id': `m${from + n}` } })),
          )
        const plain =
          form === 'managed'
            ? undefined
            : new Kafka(client).consumer({
                groupId,
                maxWaitTimeInMs: 200,
                sessionTimeout: 3000,
                heartbeatInterval: 300,
              })
        const consumer = plain === undefined ? managed(topic, groupId, handler, { client }) : undefined
        if (plain !== undefined) {
          await plain.connect()
          await plain.subscribe({ topic, fromBeginning: true })
          await plain.run({ eachMessage: eachMessage(pipeline('plain').handle(handler), { consumer: plain }) })
        }
        await send(0)
        await until('the first hundred', () => seen.size === 100)
        await server.stop()
        await sleep(4000)
        await server.start()
        await send(100)
        await until('the second hundred', () => seen.size === 200, 60_000)
        await consumer?.stop()
        await plain?.disconnect()
      },
      120_000,
    )
  })

  describe('a compacted topic', () => {
    let server: PrivateServer
    let test: TestKafka
    beforeAll(async () => {
      server = await privateKafka({ settings: ['log.cleaner.backoff.ms=500', 'log.cleaner.min.compaction.lag.ms=0'] })
      test = await testKafka({ brokers: server.url.split(',') })
    })
    afterAll(async () => {
      await test.dispose()
      await server.dispose()
    })

    it('K-16: goes on over what compaction took, and calls it no loss', async () => {
      const groupId = uniqueName('group')
      const topic = await test.topic(1, {
        'cleanup.policy': 'compact',
        'segment.ms': '100',
        'min.cleanable.dirty.ratio': '0.01',
      })
      const send = async (from: number) => {
        await test.send(
          topic,
          Array.from({ length: 30 }, (_, n) => ({ key: `k${n % 3}`, headers: { 'message-id': `m${from + n}` } })),
        )
        await sleep(300)
      }
      for (let from = 0; from < 90; from += 30) await send(from)
      const read = async (group: string) => {
        const offsets: number[] = []
        const client = { brokers: server.url.split(','), ...quiet }
        const consumer = managed(topic, group, ({ origin }) => void offsets.push(Number(origin.position)), { client })
        await until('the end', async () => (await test.committed(group, topic)) >= 90)
        await consumer.stop()
        expect(consumer.changed('messages-lost')).toEqual([])
        return offsets
      }
      await until('compaction', async () => (await read(uniqueName('group'))).length < 90, 60_000)
      const offsets = await read(groupId)
      expect(offsets.length).toBeLessThan(90)
      expect(offsets).toEqual(offsets.toSorted((a, b) => a - b))
    }, 120_000)
  })

  describe('a broker with SASL/SCRAM, TLS and access control', () => {
    let server: PrivateServer
    let test: TestKafka
    let ca: string
    beforeAll(async () => {
      const authorizer = 'org.apache.kafka.metadata.authorizer.StandardAuthorizer'
      server = await privateKafka({
        secure: true,
        settings: [`authorizer.class.name=${authorizer}`, 'super.users=User:ANONYMOUS'],
      })
      ca = await readFile(server.also['ca'] ?? '', 'utf8')
      test = await testKafka({ brokers: server.url.split(',') })
    })
    afterAll(async () => {
      await test.dispose()
      await server.dispose()
    })

    const client = (
      mechanism: 'scram-sha-256' | 'scram-sha-512',
      more: Partial<KafkaConfig> = {},
    ): Partial<KafkaConfig> => ({
      brokers: (server.also['tls'] ?? '').split(','),
      ssl: { ca: [ca] },
      sasl: saslOf(mechanism),
      ...quiet,
      ...more,
    })
    const right = (resourceType: AclResourceTypes, resourceName: string) => ({
      resourceType,
      resourceName,
      resourcePatternType: ResourcePatternTypes.LITERAL,
      principal: `User:${SASL_USER.username}`,
      host: '*',
      operation: AclOperationTypes.ALL,
      permissionType: AclPermissionTypes.ALLOW,
    })
    const allow = (resourceType: AclResourceTypes, resourceName: string) =>
      test.admin.createAcls({ acl: [right(resourceType, resourceName)] })

    it.each(['scram-sha-256', 'scram-sha-512'] as const)(
      'publishes and consumes over TLS with %s',
      async (mechanism) => {
        const [topic, groupId] = [await test.topic(), uniqueName('group')]
        await allow(AclResourceTypes.TOPIC, topic)
        await allow(AclResourceTypes.GROUP, groupId)
        const producer = new Kafka(client(mechanism) as KafkaConfig).producer()
        await producer.connect()
        await kafkajsPublisher(producer).publish([outgoing({ destination: topic, id: 'm', body: null })])
        const seen: string[] = []
        const consumer = managed(topic, groupId, ({ message }) => void seen.push(message.id), {
          client: client(mechanism),
        })
        await until('the message', () => seen.length === 1)
        await consumer.stop()
        await producer.disconnect()
      },
    )

    it.each(['classic', 'consumer'] as const)(
      'says which topic it may not read any more, goes on with the others, and with that one once it may (%s)',
      async (groupProtocol) => {
        const [topic, other, groupId] = [await test.topic(2), await test.topic(2), uniqueName('group')]
        for (const name of [topic, other]) await allow(AclResourceTypes.TOPIC, name)
        await allow(AclResourceTypes.GROUP, groupId)
        const seen = new Set<string>()
        const consumer = platformaticKafkaConsumer({
          connection: {
            clientId: 'rights',
            bootstrapBrokers: (server.also['tls'] ?? '').split(','),
            tls: { ca: [ca] },
            sasl: { mechanism: 'SCRAM-SHA-256', ...SASL_USER },
          },
          groupProtocol,
          groupId,
          topics: [topic, other],
          pipeline: pipeline('rights').handle(({ message }) => void seen.add(message.id)),
        })
        const stopping = new AbortController()
        const running = consumer.run(stopping.signal)
        const send = (to: string, id: string) => test.send(to, [{ value: id, headers: { 'message-id': id } }])
        await send(topic, 'before')
        await until('the message before', () => seen.has('before'))
        await test.admin.deleteAcls({ filters: [right(AclResourceTypes.TOPIC, topic)] })
        const reason = `messages cannot be fetched from topic '${topic}': TOPIC_AUTHORIZATION_FAILED`
        await until('the reason', () => reasonsOf(consumer).includes(reason), 20_000)
        if (groupProtocol === 'classic') {
          await send(other, 'meanwhile')
          await until('the message of the other topic', () => seen.has('meanwhile'))
        }
        await allow(AclResourceTypes.TOPIC, topic)
        await send(topic, 'after')
        await until('the message after', () => seen.has('after'), 40_000)
        await until('ready again', () => consumer.health().ready, 20_000)
        stopping.abort()
        await running
      },
      120_000,
    )

    it('names the setting that is wrong, in one error at the start', async () => {
      const [topic, groupId] = [await test.topic(), uniqueName('group')]
      const run = (more: Partial<KafkaConfig> = {}) =>
        managed(topic, groupId, () => {}, { client: client('scram-sha-256', more) }).ended
      await expect(run({ sasl: { mechanism: 'scram-sha-256', ...SASL_USER, password: 'wrong' } })).rejects.toThrow(
        'kafka: sasl: ',
      )
      await expect(run({ ssl: true })).rejects.toThrow('kafka: ssl: ')
      await expect(run()).rejects.toThrow(`kafka: topics: '${topic}'`)
      await allow(AclResourceTypes.TOPIC, topic)
      await expect(run()).rejects.toThrow(`kafka: groupId: '${groupId}' may not be used: `)
    })
  })

  describe('three brokers of which one is killed', () => {
    let server: PrivateServer
    let test: TestKafka
    beforeAll(async () => {
      server = await privateKafka({ nodes: 3 })
      test = await testKafka({ brokers: server.url.split(','), retry: { retries: 20, maxRetryTime: 1000 } })
    }, 180_000)
    afterAll(async () => {
      await test.dispose()
      await server.dispose()
    })

    it('loses nothing and keeps every key in order while leaders move', async () => {
      const groupId = uniqueName('group')
      const topic = await test.topic(6)
      const client = { brokers: server.url.split(','), ...quiet, retry: { retries: 10, maxRetryTime: 1000 } }
      const last = new Map<string, number>()
      const seen = new Set<number>()
      const faults: string[] = []
      const handler = async ({ message }: { message: { id: string; key: string | null } }) => {
        await sleep(2)
        const n = Number(message.id.slice(1))
        const key = message.key ?? ''
        if (!seen.has(n) && n < (last.get(key) ?? -1)) faults.push(`${key}: ${n} after ${last.get(key)}`)
        last.set(key, Math.max(n, last.get(key) ?? -1))
        seen.add(n)
      }
      const consumers = [managed(topic, groupId, handler, { client }), managed(topic, groupId, handler, { client })]
      const count = 4000
      const publishing = (async () => {
        for (let from = 0; from < count; from += 100) {
          await test.send(
            topic,
            Array.from({ length: 100 }, (_, n) => ({ key: `k${n % 20}`, headers: { 'message-id': `m${from + n}` } })),
          )
          await sleep(50)
        }
      })()
      await until('a start', () => seen.size > 500)
      const { topics } = await test.admin.fetchTopicMetadata({ topics: [topic] })
      const leader = topics[0]?.partitions[0]?.leader ?? 1
      const victim = server.processes()[leader - 1]
      if (victim === undefined) throw new Error(`no process of broker ${leader}`)
      await stop(victim, 'SIGKILL')
      await publishing
      await until('all', () => seen.size === count, 90_000)
      expect(faults).toEqual([])
      await Promise.all(consumers.map((consumer) => consumer.stop()))
    }, 240_000)
  })
})

const unfetched = 'messages cannot be fetched'

function reasonsOf(consumer: Consumer): readonly string[] {
  return consumer.health().details['reasons'] as readonly string[]
}

// One union member for each mechanism: kafkajs' types want to know which.
function saslOf(mechanism: 'scram-sha-256' | 'scram-sha-512'): SASLOptions {
  return mechanism === 'scram-sha-256' ? { mechanism, ...SASL_USER } : { mechanism, ...SASL_USER }
}
