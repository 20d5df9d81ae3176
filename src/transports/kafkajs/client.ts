import type { KafkaMessage } from 'kafkajs'
import type { LogClient } from '../../consumer/log/log-client.ts'
import { keyFromBytes } from '../../core/message.ts'
import { features } from '../features.ts'
import { checkKafka } from './check-kafka.ts'
import { deliveryReader, type MessageId } from './codec.ts'
import { verdictOn } from './kafka-errors.ts'
import { KafkajsMembership, type KafkajsMembershipOptions } from './managed-membership.ts'

export interface KafkajsClientOptions extends KafkajsMembershipOptions {
  readonly id: MessageId | undefined
}

/** What of the managed consumer is kafkajs' alone. */
export function kafkajsClient(options: KafkajsClientOptions): LogClient<KafkaMessage> {
  const { kafka, topics, groupId, id, missingIds } = options
  return {
    system: 'kafka',
    features: features.kafka,
    refetches: true,
    offsetOf: (message) => Number(message.offset),
    keyOf: (message) => keyFromBytes(message.key),
    deliveryOf: deliveryReader({ id, missingIds }),
    verdictOn,
    check: () => checkKafka({ kafka, topics, groupId }),
    async open(host) {
      const membership = new KafkajsMembership(options, host)
      await membership.begin()
      return membership
    },
  }
}
