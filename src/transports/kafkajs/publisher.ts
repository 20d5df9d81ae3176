import type { CompressionTypes, Producer } from 'kafkajs'
import { systemClock, type Clock } from '../../core/clock.ts'
import {
  anything,
  badOption,
  checkOptions,
  clockKind,
  count,
  oneOf,
  requireMethods,
  requireMs,
} from '../../core/options.ts'
import type { Publisher } from '../../core/publisher.ts'
import { publishInHalves, type HalvingPublish } from '../publish-in-halves.ts'
import { blames, reasonOf } from './kafka-errors.ts'
import { batchSender } from './send-batch.ts'

export interface KafkajsPublisherOptions {
  /** When a message counts as confirmed. `-1`: every in-sync replica has it. `1`: the leader has it. @defaultValue -1 */
  readonly acks?: -1 | 1
  /** @defaultValue none */
  readonly compression?: CompressionTypes
  /** Longest wait for a confirmation in ms. A later one counts as an outage: the messages may be written or not. @defaultValue 30_000 */
  readonly timeoutMs?: number
  readonly clock?: Clock
}

/**
 * Publishes through a connected kafkajs producer. Resolves when the brokers have confirmed all messages.
 * Messages of one key stay in order. Create the producer with `idempotent: true`: otherwise its retries may write twice.
 * @throws PublishError naming the messages that Kafka will never take: too large, unknown topic, invalid record.
 */
export function kafkajsPublisher(
  producer: Pick<Producer, 'sendBatch'>,
  options: KafkajsPublisherOptions = {},
): Publisher {
  const {
    acks = -1,
    compression,
    timeoutMs = 30_000,
    clock = systemClock,
  } = checkOptions('kafkajsPublisher', options, {
    acks: oneOf(-1, 1),
    compression: count(0),
    timeoutMs: anything,
    clock: clockKind,
  })
  requireMethods('kafkajsPublisher', 'producer', producer, ['sendBatch'])
  requireMs('kafkajsPublisher', { timeoutMs })
  // Without an answer there is nothing to resolve on.
  if ((acks as number) !== -1 && (acks as number) !== 1) throw badOption('kafkajsPublisher', 'acks', '-1 or 1', acks)

  const send = batchSender(producer, { acks, compression, timeoutMs })
  const how: HalvingPublish = { broker: 'Kafka', send, blames, reason: reasonOf, timeoutMs, clock }
  return { publish: (messages, { signal } = {}) => publishInHalves(messages, signal, how) }
}
