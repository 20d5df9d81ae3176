export { queueArguments, type RabbitmqOrder } from './check-queues.ts'
export type { RabbitmqMessage, RabbitmqMessageId } from './codec.ts'
export type { RabbitmqConnection } from './connection.ts'
export { rabbitmqConsumer, type RabbitmqConsumerOptions } from './consumer.ts'
export { declareQueues, queueNames, type DeclareQueuesOptions } from './declare-queues.ts'
export { eachMessage, type EachMessage, type EachMessageOptions } from './each-message.ts'
export {
  rabbitmqPublisher,
  type RabbitmqPublishConnection,
  type RabbitmqPublisher,
  type RabbitmqPublisherOptions,
} from './publisher.ts'
export { byKey, toQueue, type RabbitmqPlace, type RabbitmqRoute } from './route.ts'
export { numberOfKey as queueOfKey } from '../number-of-key.ts'
export { features } from '../features.ts'
