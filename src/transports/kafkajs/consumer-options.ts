import type { ConsumerConfig, Kafka } from 'kafkajs'
import type { Consumer } from '../../consumer/consumer.ts'
import type { KafkaGroupOptions } from '../kafka-group.ts'
import type { MessageId } from './codec.ts'

export interface KafkajsConsumerOptions extends KafkaGroupOptions {
  /** The service's kafkajs client, which configures brokers, TLS, SASL, retries and logging. */
  readonly kafka: Pick<Kafka, 'consumer' | 'admin'>
  /** Returns the message's id. @defaultValue the `message-id` or `ce_id` header, else the position */
  readonly id?: MessageId
  /** Further settings of kafkajs' consumer: `maxBytesPerPartition`, `rackId`, `partitionAssigners`, … */
  readonly settings?: Omit<
    ConsumerConfig,
    'groupId' | 'sessionTimeout' | 'rebalanceTimeout' | 'heartbeatInterval' | 'maxWaitTimeInMs'
  >
}

export type KafkajsConsumer = Consumer
