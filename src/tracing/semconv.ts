/**
 * The names of OpenTelemetry's messaging conventions v1.44, all of status "Development", and our own names.
 * https://github.com/open-telemetry/semantic-conventions/tree/v1.44.0/docs/messaging
 */
export const attributes = {
  system: 'messaging.system',
  operationName: 'messaging.operation.name',
  operationType: 'messaging.operation.type',
  destination: 'messaging.destination.name',
  partition: 'messaging.destination.partition.id',
  group: 'messaging.consumer.group.name',
  messageId: 'messaging.message.id',
  bodySize: 'messaging.message.body.size',
  batchSize: 'messaging.batch.message_count',
  kafkaOffset: 'messaging.kafka.offset',
  rabbitmqRoutingKey: 'messaging.rabbitmq.destination.routing_key',
  rabbitmqDeliveryTag: 'messaging.rabbitmq.message.delivery_tag',
  kafkaTombstone: 'messaging.kafka.message.tombstone',
  errorType: 'error.type',
} as const

/** What the conventions have no name for. */
export const ours = {
  pipeline: 'holdfast.pipeline',
  outcome: 'holdfast.outcome',
  /** How often the handler was started for the message, as far as this delivery knows. */
  attempt: 'holdfast.attempt',
  /** From the making of the message to this span, in ms: the broker's and the outbox's share together. */
  dwellMs: 'holdfast.dwell_ms',
  /** What this delivery slept between its attempts, in ms. */
  retryWaitMs: 'holdfast.retry.wait_ms',
  /** After which time a message that was handed back may come again, in ms. */
  retryAfterMs: 'holdfast.retry.after_ms',
  /** What waits with a message that was handed back: the message, its lane or the pipeline. */
  holds: 'holdfast.retry.holds',
  reason: 'holdfast.dead_letter.reason',
  /** How many partitions one commit moved. */
  partitions: 'holdfast.settle.partitions',
  suppressed: 'holdfast.duplicate.suppressed',
  errorMessage: 'holdfast.error.message',
  abandonedAfterMs: 'holdfast.abandoned.after_ms',
  /** How long a message was parked before this run, in ms. */
  parkedMs: 'holdfast.parked.age_ms',
  /** After which time a parked message is tried again, in ms. Missing where its key is blocked. */
  parkAfterMs: 'holdfast.park.after_ms',
  /** The place of a parked message: the first of its key, or behind it. */
  place: 'holdfast.park.place',
} as const

export const operations = { create: 'create', send: 'send', process: 'process', settle: 'settle' } as const

/** What the conventions have no word for. */
export const ourOperations = { park: 'park' } as const

/** Events on a `process` span. */
export const spanEvents = {
  attemptFailed: 'attempt failed',
  retryRefused: 'retry refused',
  abandoned: 'abandoned',
  duplicate: 'duplicate',
  conflict: 'conflict',
  deadLettered: 'dead-lettered',
  deadLetterFailed: 'not taken by the dead letter',
} as const
