import type { ConsumerConfig, Kafka } from 'kafkajs'
import type { Clock } from '../../core/clock.ts'
import type { HasHealth } from '../../core/health.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import type { MessageId } from './codec.ts'

export interface KafkajsConsumerOptions {
  /** The service's client: brokers, TLS, SASL, retries and logging are its own. */
  readonly kafka: Pick<Kafka, 'consumer' | 'admin'>
  readonly groupId: string
  readonly topics: readonly string[]
  readonly pipeline: Pipeline
  /** Messages in flight at once; those of one key never are. @defaultValue 64 */
  readonly concurrency?: number
  /** How far past the first unfinished message of its partition one may be started. @defaultValue 256 */
  readonly ahead?: number
  /** Messages of one partition in memory from which on it is paused; one fetch may come on top. @defaultValue 1000 */
  readonly buffer?: number
  /** Where the producer put the message's id. @defaultValue the `message-id` or `ce_id` header, else the position */
  readonly id?: MessageId
  /** The first wait after a failure that does not say when; doubled every time, at most 30 s. @defaultValue 1000 */
  readonly redeliverMs?: number
  /** How long what was started may go on in a rebalance or at the end; then its signal aborts. @defaultValue 20_000 */
  readonly drainMs?: number
  /** @defaultValue 250 */
  readonly commitEveryMs?: number
  /** kafkajs' `sessionTimeout`. @defaultValue 30_000 */
  readonly sessionMs?: number
  /** kafkajs' `rebalanceTimeout`. @defaultValue 60_000 */
  readonly rebalanceMs?: number
  /** kafkajs' `heartbeatInterval`: how soon a rebalance is noticed. @defaultValue 1000 */
  readonly heartbeatMs?: number
  /** kafkajs' `maxWaitTimeInMs`: a partition that was paused may wait that long for its next fetch. @defaultValue 300 */
  readonly maxWaitMs?: number
  /**
   * Where a partition begins for which the group has committed nothing: a new group, or a new partition. `latest` skips
   * what is in the log by then. @defaultValue 'earliest'
   */
  readonly startFrom?: 'earliest' | 'latest'
  /** A partition that stands still for that long while a handler runs, or a key held that long, makes it not ready. @defaultValue 300_000 */
  readonly hungAfterMs?: number
  /** What else kafkajs' consumer takes: `maxBytesPerPartition`, `rackId`, `partitionAssigners`, … */
  readonly settings?: Omit<
    ConsumerConfig,
    'groupId' | 'sessionTimeout' | 'rebalanceTimeout' | 'heartbeatInterval' | 'maxWaitTimeInMs'
  >
  readonly clock?: Clock
}

export interface KafkajsConsumer extends HasHealth {
  /**
   * Consumes until the signal aborts; then finishes what was started, commits and leaves the group. Once per consumer.
   * @throws HoldfastError `unavailable` where Kafka cannot be used at the start, or the consumer is beyond help later on.
   */
  run(signal: AbortSignal): Promise<void>
}
