import type { Consumer } from '../../consumer/consumer.ts'
import { logConsumer } from '../../consumer/log/log-consumer.ts'
import {
  anything,
  callback,
  checkOptions,
  count,
  either,
  flag,
  ms,
  objects,
  oneOf,
  required,
  text,
  type Kinds,
} from '../../core/options.ts'
import { kafkaGroup, kafkaGroupKinds, type KafkaGroupOptions } from '../kafka-group.ts'
import { platformaticClient, type GroupProtocol } from './client.ts'
import type { MessageId } from './codec.ts'
import type { KafkaConnectionOptions } from './wire.ts'

export interface PlatformaticKafkaConsumerOptions extends KafkaGroupOptions {
  /** How to connect to the brokers. The consumer opens and closes its own connections. */
  readonly connection: KafkaConnectionOptions
  /**
   * `classic` can share a group with kafkajs members. `consumer` is KIP-848 and needs Kafka 4.0 or newer: its rebalances stop
   * only the partitions that move. @defaultValue 'classic'
   */
  readonly groupProtocol?: GroupProtocol
  /** Returns the message's id. @defaultValue the `message-id` or `ce_id` header, else the position */
  readonly id?: MessageId
  /** Most bytes in one fetch. @defaultValue 10_485_760 */
  readonly maxBytes?: number
  /** Most bytes of one partition in one fetch. A single message may be larger. @defaultValue 1_048_576 */
  readonly maxBytesPerPartition?: number
}

const self = 'platformaticKafkaConsumer'

const kinds: Kinds<PlatformaticKafkaConsumerOptions> = {
  connection: required(objects),
  groupProtocol: oneOf('classic', 'consumer'),
  ...kafkaGroupKinds,
  id: callback,
  maxBytes: count(),
  maxBytesPerPartition: count(),
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
    groupProtocol = 'classic',
    id,
    maxBytes = 10_485_760,
    maxBytesPerPartition = 1_048_576,
    ...rest
  } = checkOptions(self, options, kinds)
  checkOptions(`${self}: connection`, connection, connectionKinds)
  const { client, consumer } = kafkaGroup(self, rest)
  return logConsumer({
    client: platformaticClient({ connection, groupProtocol, id, maxBytes, maxBytesPerPartition, ...client }),
    ...consumer,
  })
}
