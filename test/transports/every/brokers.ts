import { amqpConsumer, amqpPublisher, queue } from 'holdfast/amqp'
import type { Consumer } from 'holdfast/consumer'
import { kafkajsConsumer, kafkajsPublisher } from 'holdfast/kafkajs'
import { bySubject, natsConsumer, natsPublisher, numberedPartitions } from 'holdfast/nats'
import { platformaticKafkaConsumer, platformaticKafkaPublisher } from 'holdfast/platformatic-kafka'
import { pulsarClient, pulsarConsumer, pulsarPublisher } from 'holdfast/pulsar'
import { byKey, declareQueues, rabbitmqConsumer, rabbitmqPublisher, toQueue } from 'holdfast/rabbitmq'
import type { Message, Pipeline, Publisher } from 'holdfast'
import { artemisUrl, kafkaBrokers, natsUrl, pulsarUrl, rabbitmqUrl, uniqueName } from '../../support/services.ts'
import { isFull } from '../../support/skipped.ts'
import { testAmqp } from '../amqp/support.ts'
import { testNats } from '../jetstream/support.ts'
import { everythingIn } from '../kafkajs/everything-in.ts'
import { testKafka } from '../kafkajs/support.ts'
import { connectionTo, producerOn } from '../platformatic-kafka/under-test.ts'
import { PulsarBench } from '../pulsar/bench.ts'
import { arrivedAt } from '../pulsar/support.ts'
import { testRabbitmq } from '../rabbitmq/support.ts'

/** A transport, as a service uses it. */
export interface Transport {
  readonly name: string
  readonly service: string
  /** As in `delivery.origin.system`. */
  readonly system: string
  open(): Promise<OpenTransport>
}

export interface OpenTransport {
  readonly publisher: Publisher
  /** Where `consumer()` reads, with two partitions. */
  readonly topic: string
  /** Where `deadLetters()` looks. */
  readonly deadLetterTopic: string
  consumer(pipeline: Pipeline): Consumer
  /** As a producer that knows nothing of our headers, and sets no id. */
  sendPlain(body: string): Promise<unknown>
  deadLetters(): Promise<readonly Message<Uint8Array | null>[]>
  dispose(): Promise<void>
}

const partitions = 2
const quick = { redeliverMs: 50 }

async function openKafka() {
  const test = await testKafka()
  const [topic, deadLetterTopic] = [await test.topic(partitions), await test.topic(1)]
  const deadLetters = () => everythingIn(test, deadLetterTopic)
  const sendPlain = (value: string) => test.send(topic, [{ value }])
  return { test, topic, deadLetterTopic, deadLetters, sendPlain, groupId: uniqueName('group') }
}

const kafkajs: Transport = {
  name: 'kafkajs',
  service: 'kafka',
  system: 'kafka',
  async open() {
    const { test, groupId, ...opened } = await openKafka()
    const producer = test.kafka.producer({ idempotent: true })
    await producer.connect()
    return {
      ...opened,
      publisher: kafkajsPublisher(producer),
      consumer: (pipeline) =>
        kafkajsConsumer({ kafka: test.kafka, groupId, topics: [opened.topic], pipeline, commitEveryMs: 50, ...quick }),
      async dispose() {
        await producer.disconnect()
        await test.dispose()
      },
    }
  },
}

const platformatic: Transport = {
  name: '@platformatic/kafka',
  service: 'kafka',
  system: 'kafka',
  async open() {
    const [broker = ''] = kafkaBrokers()
    const { test, groupId, ...opened } = await openKafka()
    const producer = producerOn(broker)
    return {
      ...opened,
      publisher: platformaticKafkaPublisher(producer),
      consumer: (pipeline) =>
        platformaticKafkaConsumer({
          ...{ connection: connectionTo(broker), groupId, topics: [opened.topic], pipeline, commitEveryMs: 50 },
          ...quick,
        }),
      async dispose() {
        await producer.close()
        await test.dispose()
      },
    }
  },
}

const rabbitmq: Transport = {
  name: 'RabbitMQ',
  service: 'rabbitmq',
  system: 'rabbitmq',
  async open() {
    const test = await testRabbitmq(rabbitmqUrl())
    const topic = uniqueName('topic')
    const queues = await declareQueues(test.direct, { exchange: topic, group: 'g', queues: partitions })
    test.onDispose(async () => {
      for (const queue of queues) await test.channel.deleteQueue(queue)
      await test.channel.deleteExchange(topic)
    })
    const deadLetterTopic = await test.queue()
    const toTopic = byKey(partitions)
    const [publishing, consuming] = [await test.connect(), await test.connect()]
    return {
      topic,
      deadLetterTopic,
      publisher: rabbitmqPublisher(publishing, {
        route: (message) => (message.destination === topic ? toTopic(message) : toQueue(message)),
      }),
      consumer: (pipeline) => rabbitmqConsumer({ connection: consuming, queues, pipeline, ...quick }),
      sendPlain: async (body) => test.channel.publish(topic, '0', Buffer.from(body)),
      deadLetters: () => test.arrived(deadLetterTopic),
      dispose: () => test.dispose(),
    }
  },
}

const nats: Transport = {
  name: 'NATS',
  service: 'nats',
  system: 'nats',
  async open() {
    const test = await testNats(natsUrl())
    const [topic, dead] = [await test.stream(), await test.stream()]
    const toTopic = bySubject(partitions)
    const own = await test.connect()
    return {
      topic,
      deadLetterTopic: `${dead}.letters`,
      publisher: natsPublisher(test.js, {
        jsm: test.jsm,
        subject: (message) => (message.destination === topic ? toTopic(message) : message.destination),
      }),
      consumer: (pipeline) =>
        natsConsumer({
          ...{ ...own, stream: topic, group: 'g', partitions: numberedPartitions(topic, partitions), pipeline },
          ...{ leaseMs: 1500, shareEveryMs: 100, ...quick },
        }),
      sendPlain: (body) => test.js.publish(`${topic}.0`, body),
      deadLetters: () => test.arrived(dead),
      dispose: () => test.dispose(),
    }
  },
}

const amqp: Transport = {
  name: 'Artemis',
  service: 'artemis',
  system: 'amqp',
  open() {
    const test = testAmqp(artemisUrl())
    const [topic, deadLetterTopic] = [test.queue(), test.queue()]
    const connection = test.connect()
    return Promise.resolve({
      topic,
      deadLetterTopic,
      publisher: amqpPublisher(connection),
      consumer: (pipeline) => amqpConsumer({ connection, sources: [queue(topic)], pipeline, ...quick }),
      sendPlain: (body) => test.send(topic, [{ body }]),
      deadLetters: () => test.arrived(deadLetterTopic),
      dispose: () => test.dispose(),
    })
  },
}

const pulsar: Transport = {
  name: 'Pulsar',
  service: 'pulsar',
  system: 'pulsar',
  async open() {
    const bench = new PulsarBench()
    const [topic, deadLetterTopic] = [uniqueName('topic'), uniqueName('letters')]
    await bench.admin(`persistent/public/default/${topic}/partitions`, 'PUT', partitions)
    const client = pulsarClient({ serviceUrl: pulsarUrl() })
    const publisher = pulsarPublisher(client)
    return {
      topic,
      deadLetterTopic,
      publisher,
      consumer: (pipeline) => pulsarConsumer({ client, topics: [topic], subscription: 'g', pipeline, ...quick }),
      sendPlain: (body) => bench.sendRaw(`${topic}-partition-0`, {}, Buffer.from(body)),
      deadLetters: () => arrivedAt(deadLetterTopic),
      async dispose() {
        await publisher.close()
        client.close()
        bench.close()
      },
    }
  },
}

/** Pulsar is in the full run alone. */
export const transports: readonly Transport[] = [
  ...[kafkajs, platformatic, rabbitmq, nats, amqp],
  ...(isFull ? [pulsar] : []),
]
