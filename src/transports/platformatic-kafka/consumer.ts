import type { Consumer, ConsumerOptions } from '../../consumer/consumer.ts'
import { logConsumer } from '../../consumer/log/log-consumer.ts'
import { checkSettings, requireRoom } from '../../consumer/log/settings.ts'
import { systemClock } from '../../core/clock.ts'
import {
  anything,
  callback,
  checkOptions,
  clockKind,
  count,
  either,
  flag,
  having,
  ms,
  objects,
  oneOf,
  required,
  text,
  type Kind,
  type Kinds,
} from '../../core/options.ts'
import { platformaticClient, type GroupProtocol } from './client.ts'
import type { MessageId } from './codec.ts'
import type { KafkaConnectionOptions } from './wire.ts'

export interface PlatformaticKafkaConsumerOptions extends ConsumerOptions {
  /** How to connect to the brokers. The consumer opens and closes its own connections. */
  readonly connection: KafkaConnectionOptions
  readonly groupId: string
  readonly topics: readonly string[]
  /**
   * `classic` can share a group with kafkajs members. `consumer` is KIP-848 and needs Kafka 4.0 or newer: its rebalances stop
   * only the partitions that move. @defaultValue 'classic'
   */
  readonly groupProtocol?: GroupProtocol
  /** Where a group without a committed offset starts. @defaultValue 'earliest' */
  readonly startFrom?: 'earliest' | 'latest'
  /** How many offsets past its partition's first unfinished message a message may start. @defaultValue 256 */
  readonly ahead?: number
  /** Messages of one partition in memory at which its fetches pause. One more fetch may arrive. @defaultValue 1000 */
  readonly buffer?: number
  /** Returns the message's id. @defaultValue the `message-id` or `ce_id` header, else the position */
  readonly id?: MessageId
  /** Longest delay of a commit after its offset moved, in ms. @defaultValue 250 */
  readonly commitEveryMs?: number
  /** Ms without a heartbeat until the group gives the partitions to other members. With `consumer` the broker decides. @defaultValue 30_000 */
  readonly sessionMs?: number
  /** Longest time in ms that a rebalance waits for a member. @defaultValue 60_000 */
  readonly rebalanceMs?: number
  /** Interval of heartbeats in ms. The consumer notices a rebalance within that time. @defaultValue 1000 */
  readonly heartbeatMs?: number
  /** Longest wait of a fetch for messages, in ms. @defaultValue 300 */
  readonly maxWaitMs?: number
  /** Most bytes in one fetch. @defaultValue 10_485_760 */
  readonly maxBytes?: number
  /** Most bytes of one partition in one fetch. A single message may be larger. @defaultValue 1_048_576 */
  readonly maxBytesPerPartition?: number
}

const self = 'platformaticKafkaConsumer'

const names: Kind = {
  wanted: 'a list of at least one text',
  fits: (value) => Array.isArray(value) && value.length > 0 && value.every((each) => text.fits(each)),
}

const kinds: Kinds<PlatformaticKafkaConsumerOptions> = {
  connection: required(objects),
  groupId: required(text),
  topics: required(names),
  pipeline: required(having('step')),
  groupProtocol: oneOf('classic', 'consumer'),
  startFrom: oneOf('earliest', 'latest'),
  concurrency: count(),
  ahead: count(),
  buffer: count(),
  id: callback,
  redeliverMs: ms(),
  drainMs: ms(),
  commitEveryMs: ms(),
  sessionMs: ms(),
  rebalanceMs: ms(),
  heartbeatMs: ms(),
  maxWaitMs: ms(),
  maxBytes: count(),
  maxBytesPerPartition: count(),
  hungAfterMs: ms(),
  clock: clockKind,
}

const connectionKinds: Kinds<KafkaConnectionOptions> = {
  clientId: required(text),
  bootstrapBrokers: required({
    wanted: 'a list of at least one broker',
    fits: (value) => Array.isArray(value) && value.length > 0,
  }),
  tls: objects,
  tlsServerName: either(text, flag),
  sasl: objects,
  connectTimeout: ms(),
  metadataMaxAge: ms(0),
  context: anything,
}

/**
 * The managed consumer on `@platformatic/kafka`. It handles many keys in parallel, and each key in order. It commits an
 * offset only when all earlier messages are done. Before a rebalance and before it stops, it finishes started messages.
 * @throws HoldfastError `bad-option` for settings that contradict each other or the pipeline.
 */
export function platformaticKafkaConsumer(options: PlatformaticKafkaConsumerOptions): Consumer {
  const {
    connection,
    groupId,
    topics,
    pipeline,
    groupProtocol = 'classic',
    startFrom = 'earliest',
    concurrency = 64,
    ahead = 256,
    buffer = 1000,
    id,
    redeliverMs = 1000,
    drainMs = 20_000,
    commitEveryMs = 250,
    sessionMs = 30_000,
    rebalanceMs = 60_000,
    heartbeatMs = 1000,
    maxWaitMs = 300,
    maxBytes = 10_485_760,
    maxBytesPerPartition = 1_048_576,
    hungAfterMs = 300_000,
    clock = systemClock,
  } = checkOptions(self, options, kinds)
  checkOptions(`${self}: connection`, connection, connectionKinds)
  requireRoom(self, ahead, buffer)
  const notes = checkSettings(
    self,
    { concurrency, sessionMs, rebalanceMs, heartbeatMs, maxWaitMs, drainMs },
    pipeline.stages,
  )
  return logConsumer({
    client: platformaticClient({
      connection,
      groupId,
      topics,
      groupProtocol,
      startFrom,
      id,
      sessionMs,
      rebalanceMs,
      heartbeatMs,
      maxWaitMs,
      maxBytes,
      maxBytesPerPartition,
      clock,
    }),
    group: groupId,
    pipeline,
    concurrency,
    ahead,
    buffer,
    redeliverMs,
    drainMs,
    commitEveryMs,
    sessionMs,
    rebalanceMs,
    heartbeatMs,
    hungAfterMs,
    notes,
    clock,
  })
}
