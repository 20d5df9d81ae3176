import { subscribe, type ConsumerChange } from '../../../src/core/events.ts'
import type { Delivery } from '../../../src/core/delivery.ts'
import type { Bytes } from '../../../src/core/message.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import {
  platformaticKafkaConsumer,
  type PlatformaticKafkaConsumerOptions,
} from '../../../src/transports/platformatic-kafka/index.ts'
import { kafkaBrokers } from '../../support/services.ts'
import type { Managed } from '../kafkajs/managed.ts'

/** A managed consumer under test with short times, so that tests need not wait for a session of half a minute. */
export function managed(
  topic: string,
  groupId: string,
  handler: (delivery: Delivery<Bytes>) => Promise<unknown> | void,
  options: Partial<PlatformaticKafkaConsumerOptions> = {},
): Managed {
  const changes: ConsumerChange[] = []
  const unsubscribe = subscribe('consumer-changed', (change) => {
    if (change.group === groupId) changes.push(change)
  })
  const consumer = platformaticKafkaConsumer({
    connection: { clientId: 'holdfast-test', bootstrapBrokers: [...kafkaBrokers()] },
    groupId,
    topics: [topic],
    pipeline: pipeline('managed').handle(handler),
    sessionMs: 4000,
    rebalanceMs: 10_000,
    heartbeatMs: 200,
    drainMs: 5000,
    commitEveryMs: 50,
    redeliverMs: 100,
    ...options,
  })
  const stopping = new AbortController()
  const ended = consumer.run(stopping.signal).finally(unsubscribe)
  ended.catch(() => {})
  return {
    changes,
    changed: (change) => changes.filter((each) => each.change === change),
    health: () => consumer.health(),
    ended,
    stop() {
      stopping.abort(new Error('the test is over'))
      return ended
    },
  }
}
