import { callback, checkOptions, having, objects, required, type Kinds } from '../../core/options.ts'
import { logConsumer } from '../../consumer/log/log-consumer.ts'
import { kafkaGroup, kafkaGroupKinds } from '../kafka-group.ts'
import { kafkajsClient } from './client.ts'
import type { KafkajsConsumer, KafkajsConsumerOptions } from './consumer-options.ts'

const self = 'kafkajsConsumer'

const kinds: Kinds<KafkajsConsumerOptions> = {
  kafka: required(having('consumer', 'admin')),
  ...kafkaGroupKinds,
  id: callback,
  settings: objects,
}

/**
 * The managed consumer. It handles many keys in parallel, and each key in order. It commits an offset only when all earlier
 * messages are done. Before a rebalance and before it stops, it finishes the messages that it started.
 */
export function kafkajsConsumer(options: KafkajsConsumerOptions): KafkajsConsumer {
  const { kafka, id, settings = {}, ...rest } = checkOptions(self, options, kinds)
  const { client, consumer } = kafkaGroup(self, rest)
  return logConsumer({ client: kafkajsClient({ kafka, id, settings, ...client }), ...consumer })
}
