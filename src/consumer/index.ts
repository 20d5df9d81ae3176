export { type Priority } from './priority.ts'
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
export { promotion, type PromotionPartition, type PromotionReport, type PromotionStep } from './replay/promotion.ts'
export { replay, type ReplayReport } from './replay/replay.ts'
export type { ReplayOptions, ReplayPoint } from './replay/options.ts'
export type { LogState, ReplayLog } from './replay/replay-log.ts'
export type { PlannedPartition, ReplayPlan, Replaying } from './replay/plan.ts'
export type { ReplayRange } from './replay/ranges.ts'
export { featureNames, type Feature, type Features } from './features.ts'
export type { ConsumerDescription } from './consumer-description.ts'
