import { systemClock } from '../../core/clock.ts'
import {
  anything,
  badOption,
  callback,
  checkOptions,
  clockKind,
  having,
  list,
  objects,
  requireCount,
  required,
  requireMethods,
  requireMs,
  requireOneOf,
  requireText,
  text,
} from '../../core/options.ts'
import { logConsumer } from '../../consumer/log/log-consumer.ts'
import { checkSettings, requireRoom } from '../../consumer/log/settings.ts'
import { kafkajsClient } from './client.ts'
import type { KafkajsConsumer, KafkajsConsumerOptions } from './consumer-options.ts'

/**
 * The managed consumer. It handles many keys in parallel, and each key in order. It commits an offset only when all earlier
 * messages are done. Before a rebalance and before it stops, it finishes the messages that it started.
 */
export function kafkajsConsumer(options: KafkajsConsumerOptions): KafkajsConsumer {
  const {
    kafka,
    groupId,
    topics,
    pipeline,
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
    hungAfterMs = 300_000,
    startFrom = 'earliest',
    settings = {},
    clock = systemClock,
  } = checkOptions('kafkajsConsumer', options, {
    kafka: required(having('consumer', 'admin')),
    groupId: required(text),
    topics: required(list),
    pipeline: required(having('step')),
    concurrency: anything,
    ahead: anything,
    buffer: anything,
    id: callback,
    redeliverMs: anything,
    drainMs: anything,
    commitEveryMs: anything,
    sessionMs: anything,
    rebalanceMs: anything,
    heartbeatMs: anything,
    maxWaitMs: anything,
    hungAfterMs: anything,
    startFrom: anything,
    settings: objects,
    clock: clockKind,
  })
  requireMethods('kafkajsConsumer', 'kafka', kafka, ['consumer', 'admin'])
  requireMethods('kafkajsConsumer', 'pipeline', pipeline, ['step'])
  requireText('kafkajsConsumer', { groupId })
  requireCount('kafkajsConsumer', { concurrency, ahead, buffer })
  requireRoom('kafkajsConsumer', ahead, buffer)
  requireMs('kafkajsConsumer', { redeliverMs, drainMs, commitEveryMs, sessionMs, rebalanceMs, heartbeatMs, maxWaitMs })
  requireMs('kafkajsConsumer', { hungAfterMs })
  requireOneOf('kafkajsConsumer', 'startFrom', startFrom, ['earliest', 'latest'])
  if (topics.length === 0) throw badOption('kafkajsConsumer', 'topics', 'a list of at least one topic', topics)
  requireText('kafkajsConsumer', Object.fromEntries(topics.map((topic, at) => [`topics[${at}]`, topic])))
  const times = { concurrency, sessionMs, rebalanceMs, heartbeatMs, maxWaitMs, drainMs }
  const notes = checkSettings('kafkajsConsumer', times, pipeline.stages)
  return logConsumer({
    client: kafkajsClient({
      kafka,
      groupId,
      topics,
      id,
      sessionMs,
      rebalanceMs,
      heartbeatMs,
      maxWaitMs,
      startFrom,
      settings,
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
