export type { Consumer, ConsumerOptions, DeliveryContext } from './consumer.ts'
export { logConsumer, type LogConsumerOptions } from './log/log-consumer.ts'
export type {
  Assigned,
  Gap,
  Generation,
  LogBatch,
  LogClient,
  LogHost,
  LogMembership,
  LogSession,
  Place,
  Position,
} from './log/log-client.ts'
export { positionId } from './log/position-id.ts'
export { checkSettings, type TimeSettings } from './log/settings.ts'
export { queueConsumer, type QueueConsumerOptions } from './queue/queue-consumer.ts'
export type { Ownership, QueueClient, QueueHost, QueueMembership, QueueSession } from './queue/queue-client.ts'
export { keyFromBytes } from '../core/message.ts'
