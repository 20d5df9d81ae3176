import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Pipeline } from 'holdfast'
import { kafkajsConsumer } from 'holdfast/kafkajs'
import { platformaticKafkaConsumer } from 'holdfast/platformatic-kafka'
import type { Consumer, ConsumerConfig, Kafka } from 'kafkajs'
import { kafkaBrokers, uniqueName } from './topic.ts'

const changes = 'holdfast:consumer-changed'

export type Work = () => Promise<void>

/** One way to consume a topic, in a new group each time. */
export interface Side {
  readonly name: string
  /** Starts to consume with this as the handler; gives what stops it. */
  start(options: SideOptions): Promise<() => Promise<void>>
}

export interface SideOptions {
  readonly kafka: Kafka
  readonly topic: string
  readonly work: Work
  /** Called when the group was joined and fetching begins. */
  readonly onJoin: () => void
}

/** kafkajs' `eachBatch` with its own commits, as its documentation has it, without a heartbeat after every message. */
export function rawEachBatch(): Side {
  return raw('kafkajs eachBatch', (consumer, work) =>
    consumer.run({
      async eachBatch({ batch }) {
        for (const { key: _ } of batch.messages) await work()
      },
    }),
  )
}

export function rawEachMessage(partitionsConsumedConcurrently: number): Side {
  return raw(
    `kafkajs eachMessage, partitionsConsumedConcurrently ${partitionsConsumedConcurrently}`,
    (consumer, work) => consumer.run({ partitionsConsumedConcurrently, eachMessage: work }),
  )
}

function raw(name: string, run: (consumer: Consumer, work: Work) => Promise<void>): Side {
  return {
    name,
    async start({ kafka, topic, work, onJoin }) {
      const consumer = kafka.consumer({ groupId: uniqueName('raw'), maxWaitTimeInMs: 300 })
      consumer.on(consumer.events.GROUP_JOIN, onJoin)
      await consumer.connect()
      await consumer.subscribe({ topic, fromBeginning: true })
      await run(consumer, work)
      return () => consumer.disconnect()
    },
  }
}

/** The managed consumer around what `build` makes of the handler. */
export function managed(name: string, build: (work: Work) => Pipeline): Side {
  return {
    name,
    async start({ kafka, topic, work, onJoin }) {
      const stop = new AbortController()
      const consumer = kafkajsConsumer({
        kafka: { admin: () => kafka.admin(), consumer: (config) => watched(kafka, config, onJoin) },
        groupId: uniqueName('holdfast'),
        topics: [topic],
        pipeline: build(work),
      })
      const running = consumer.run(stop.signal)
      return () => {
        stop.abort()
        return running
      }
    },
  }
}

/** The same on the other client. It makes its own connections. */
export function managedByPlatformatic(name: string, build: (work: Work) => Pipeline): Side {
  return {
    name,
    async start({ topic, work, onJoin }) {
      const stop = new AbortController()
      const group = uniqueName('holdfast')
      const joined = (event: unknown): void => {
        const { change, group: whose } = event as { readonly change: string; readonly group: string }
        if (whose === group && change === 'joined') onJoin()
      }
      subscribe(changes, joined)
      const consumer = platformaticKafkaConsumer({
        connection: { clientId: 'holdfast-bench', bootstrapBrokers: await kafkaBrokers() },
        groupId: group,
        topics: [topic],
        pipeline: build(work),
      })
      const running = consumer.run(stop.signal)
      return async () => {
        stop.abort()
        await running
        unsubscribe(changes, joined)
      }
    },
  }
}

function watched(kafka: Kafka, config: ConsumerConfig, onJoin: () => void): Consumer {
  const consumer = kafka.consumer(config)
  consumer.on(consumer.events.GROUP_JOIN, onJoin)
  return consumer
}
