import { logKinds, type LogConsumerOptions, type LogSettings } from '../consumer/log/log-consumer.ts'
import { MissingIds } from '../consumer/log/position-id.ts'
import { checkSettings, requireRoom } from '../consumer/log/settings.ts'
import { systemClock, type Clock } from '../core/clock.ts'
import { ms, oneOf, required, text, type Kind, type Kinds } from '../core/options.ts'

/** The options of the managed consumers of Kafka, for either client. */
export interface KafkaGroupOptions extends LogSettings {
  readonly groupId: string
  readonly topics: readonly string[]
  /**
   * Where to start a partition without a committed offset: in a new group, or a new partition. `latest` skips the messages
   * that are in the log by then. @defaultValue 'earliest'
   */
  readonly startFrom?: 'earliest' | 'latest'
  /**
   * Ms without a heartbeat until the group gives the partitions to other members (`sessionTimeout` of kafkajs). With
   * `groupProtocol: 'consumer'` the broker decides. @defaultValue 30_000
   */
  readonly sessionMs?: number
  /** Longest time in ms that a rebalance waits for a member (`rebalanceTimeout` of kafkajs). @defaultValue 60_000 */
  readonly rebalanceMs?: number
  /** Interval of heartbeats in ms. The consumer notices a rebalance within that time. @defaultValue 1000 */
  readonly heartbeatMs?: number
  /** Longest wait of a fetch for messages, in ms. With kafkajs a paused partition may wait that long for its next fetch. @defaultValue 300 */
  readonly maxWaitMs?: number
}

const names: Kind = {
  wanted: 'a list of at least one topic, each a text that is not empty',
  fits: (value) => Array.isArray(value) && value.length > 0 && value.every((each) => text.fits(each)),
}

export const kafkaGroupKinds: Kinds<KafkaGroupOptions> = {
  groupId: required(text),
  topics: required(names),
  startFrom: oneOf('earliest', 'latest'),
  maxWaitMs: ms(),
  ...logKinds,
}

/** What a client needs of them. */
export interface KafkaGroupSettings {
  readonly groupId: string
  readonly topics: readonly string[]
  readonly startFrom: 'earliest' | 'latest'
  readonly sessionMs: number
  readonly rebalanceMs: number
  readonly heartbeatMs: number
  readonly maxWaitMs: number
  /** Told of each message without an id. */
  readonly missingIds: Pick<MissingIds, 'seen'>
  readonly clock: Clock
}

/** @throws HoldfastError `bad-option` for times that contradict each other or the pipeline. */
export function kafkaGroup<Raw>(
  where: string,
  options: KafkaGroupOptions,
): { readonly client: KafkaGroupSettings; readonly consumer: Omit<LogConsumerOptions<Raw>, 'client'> } {
  const {
    groupId,
    topics,
    startFrom = 'earliest',
    sessionMs = 30_000,
    rebalanceMs = 60_000,
    heartbeatMs = 1000,
    maxWaitMs = 300,
    clock = systemClock,
    concurrency = 64,
    drainMs = 20_000,
    ahead = 256,
    buffer = 1000,
    ...rest
  } = options
  requireRoom(where, ahead, buffer)
  const times = { concurrency, sessionMs, rebalanceMs, heartbeatMs, maxWaitMs, drainMs }
  const notes = checkSettings(where, times, options.pipeline.stages)
  const missingIds = new MissingIds()
  return {
    client: { groupId, topics, startFrom, sessionMs, rebalanceMs, heartbeatMs, maxWaitMs, missingIds, clock },
    consumer: {
      group: groupId,
      concurrency,
      ahead,
      buffer,
      drainMs,
      sessionMs,
      rebalanceMs,
      heartbeatMs,
      notes: () => [...notes, ...missingIds.notes()],
      clock,
      ...rest,
    },
  }
}
