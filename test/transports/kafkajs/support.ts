import { Kafka, logLevel, type Admin, type Consumer, type IHeaders, type KafkaConfig, type Message } from 'kafkajs'
import { setTimeout as sleep } from 'node:timers/promises'
import { kafkaBrokers, uniqueName } from '../../support/services.ts'
import { createTopics } from '../../support/kafka-topics.ts'

/** A client with its own topics and groups; everything that it made is stopped by `dispose`. */
export interface TestKafka {
  readonly kafka: Kafka
  readonly admin: Admin
  topic(partitions?: number, config?: Readonly<Record<string, string>>): Promise<string>
  send(topic: string, messages: readonly TestMessage[]): Promise<void>
  /** A plain consumer of the service's own; connected and subscribed. */
  consumer(topic: string, groupId: string, options?: ConsumerOptions): Promise<Consumer>
  /** The committed position of one partition; -1 without one. */
  committed(groupId: string, topic: string, partition?: number): Promise<number>
  dispose(): Promise<void>
}

export type TestMessage = Omit<Message, 'value' | 'headers'> & {
  readonly value?: Message['value']
  readonly headers?: IHeaders
}

export interface ConsumerOptions {
  readonly sessionTimeout?: number
  readonly heartbeatInterval?: number
  readonly maxWaitTimeInMs?: number
  readonly rebalanceTimeout?: number
}

export async function testKafka(config: Partial<KafkaConfig> = {}): Promise<TestKafka> {
  const kafka = new Kafka({
    clientId: 'holdfast-test',
    brokers: kafkaBrokers(),
    logLevel: logLevel.NOTHING,
    ...config,
  })
  const admin = kafka.admin()
  const producer = kafka.producer({ idempotent: true })
  await Promise.all([admin.connect(), producer.connect()])
  const consumers: Consumer[] = []
  return {
    kafka,
    admin,
    async topic(partitions = 1, settings = {}) {
      const topic = uniqueName('topic')
      const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }))
      await createTopics(admin, [{ topic, numPartitions: partitions, configEntries }])
      // A broker that is busy answers for a new topic before it leads its partitions.
      await until(`every partition of ${topic} is led`, () =>
        admin.fetchTopicOffsets(topic).then(
          (offsets) => offsets.length === partitions,
          () => false,
        ),
      )
      return topic
    },
    async send(topic, messages) {
      await producer.send({ topic, messages: messages.map((message) => ({ value: 'x', ...message })) })
    },
    async consumer(topic, groupId, options = {}) {
      const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 200, ...options })
      consumers.push(consumer)
      await consumer.connect()
      await consumer.subscribe({ topic, fromBeginning: true })
      return consumer
    },
    async committed(groupId, topic, partition = 0) {
      const [offsets] = await admin.fetchOffsets({ groupId, topics: [topic] })
      return Number(offsets?.partitions.find((each) => each.partition === partition)?.offset ?? -1)
    },
    async dispose() {
      await Promise.all(consumers.map((consumer) => consumer.disconnect().catch(() => {})))
      await Promise.all([admin.disconnect(), producer.disconnect()])
    },
  }
}

/** Waits until something is true, and fails by its name otherwise. */
export async function until(what: string, isTrue: () => boolean | Promise<boolean>, withinMs = 20_000): Promise<void> {
  const deadline = Date.now() + withinMs
  while (!(await isTrue())) {
    if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`)
    await sleep(20)
  }
}

export const numbers = (count: number, key?: string): TestMessage[] =>
  Array.from({ length: count }, (_, n) => ({
    key: key ?? `key-${n}`,
    value: String(n),
    headers: { 'message-id': `m${n}` },
  }))
