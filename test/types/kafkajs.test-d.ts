import type { Consumer, EachBatchHandler, EachMessageHandler, Kafka, Producer } from 'kafkajs'
import type { HasHealth, Pipeline, Publisher } from '../../src/index.ts'
import {
  checkKafka,
  eachBatch,
  eachMessage,
  kafkajsConsumer,
  kafkajsPublisher,
} from '../../src/transports/kafkajs/index.ts'

// The real types of kafkajs fit what the adapter takes, and what it gives fits `consumer.run`.

declare const kafka: Kafka
declare const consumer: Consumer
declare const producer: Producer
declare const orders: Pipeline
declare const typed: Pipeline<{ readonly orderId: string }>

const message: EachMessageHandler = eachMessage(orders, {
  consumer,
  id: ({ message }) => message.key?.toString() ?? '',
})
const batch: EachBatchHandler = eachBatch(orders, { consumer, concurrency: 4 })
void consumer.run({ eachMessage: eachMessage(orders) })
void consumer.run({ eachBatch: eachBatch(orders), eachBatchAutoResolve: true })
const publisher: Publisher = kafkajsPublisher(producer, { acks: 1 })
const health: HasHealth = eachMessage(orders)
void kafkajsConsumer({ kafka, groupId: 'g', topics: ['t'], pipeline: orders, settings: { rackId: 'a' } }).run(
  new AbortController().signal,
)
void checkKafka({ kafka, topics: ['t'] })
void [message, batch, publisher, health]

// @ts-expect-error -- Kafka hands over bytes: the pipeline decodes them itself
eachMessage(typed)
// @ts-expect-error -- what is not confirmed cannot be resolved
kafkajsPublisher(producer, { acks: 0 })
// @ts-expect-error -- the group is the consumer's own option
kafkajsConsumer({ kafka, groupId: 'g', topics: ['t'], pipeline: orders, settings: { groupId: 'other' } })
