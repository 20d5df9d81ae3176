import type { ConsumerConfig, Kafka } from 'kafkajs'
import type { Clock } from '../../core/clock.ts'
import type { HasHealth } from '../../core/health.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import type { MessageId } from './codec.ts'

export interface KafkajsConsumerOptions {
  /** The service's kafkajs client, which configures brokers, TLS, SASL, retries and logging. */
  readonly kafka: Pick<Kafka, 'consumer' | 'admin'>
  readonly groupId: string
  readonly topics: readonly string[]
  readonly pipeline: Pipeline
  /** Most messages in flight, at most one per key. @defaultValue 64 */
  readonly concurrency?: number
  /** How many offsets past its partition's first unfinished message a message may start. @defaultValue 256 */
  readonly ahead?: number
  /** Messages of one partition in memory at which its fetches pause. One more fetch may arrive. @defaultValue 1000 */
  readonly buffer?: number
  /** Returns the message's id. @defaultValue the `message-id` or `ce_id` header, else the position */
  readonly id?: MessageId
  /** First redelivery delay in ms, if the error gives none. It doubles with each nack, up to 30 s. @defaultValue 1000 */
  readonly redeliverMs?: number
  /** Longest time in ms for started messages to finish in a rebalance or shutdown. Then their signals abort. @defaultValue 20_000 */
  readonly drainMs?: number
  /** @defaultValue 250 */
  readonly commitEveryMs?: number
  /** kafkajs' `sessionTimeout` in ms. @defaultValue 30_000 */
  readonly sessionMs?: number
  /** kafkajs' `rebalanceTimeout` in ms. @defaultValue 60_000 */
  readonly rebalanceMs?: number
  /** kafkajs' `heartbeatInterval` in ms. The consumer notices a rebalance within that time. @defaultValue 1000 */
  readonly heartbeatMs?: number
  /** kafkajs' `maxWaitTimeInMs`. A paused partition may wait that long for its next fetch. @defaultValue 300 */
  readonly maxWaitMs?: number
  /**
   * Where to start a partition without a committed offset: in a new group, or a new partition. `latest` skips the messages
   * that are in the log by then. @defaultValue 'earliest'
   */
  readonly startFrom?: 'earliest' | 'latest'
  /** The consumer is not ready after a partition made no progress for this many ms while a handler runs, or a key was held that long. @defaultValue 300_000 */
  readonly hungAfterMs?: number
  /** Further settings of kafkajs' consumer: `maxBytesPerPartition`, `rackId`, `partitionAssigners`, … */
  readonly settings?: Omit<
    ConsumerConfig,
    'groupId' | 'sessionTimeout' | 'rebalanceTimeout' | 'heartbeatInterval' | 'maxWaitTimeInMs'
  >
  readonly clock?: Clock
}

export interface KafkajsConsumer extends HasHealth {
  /**
   * Consumes until the signal aborts. Then it finishes started messages, commits and leaves the group. Call it once.
   * @throws HoldfastError `unavailable` when Kafka cannot be used at the start, or when the consumer fails for good later.
   */
  run(signal: AbortSignal): Promise<void>
}
