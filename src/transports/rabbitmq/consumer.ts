import { consumerKinds, type Consumer, type ConsumerOptions } from '../../consumer/consumer.ts'
import { pipelineNotes, requireFit } from '../../consumer/fits-pipeline.ts'
import { priorityOf } from '../../consumer/priority.ts'
import { queueConsumer } from '../../consumer/queue/queue-consumer.ts'
import { systemClock } from '../../core/clock.ts'
import {
  badOption,
  callback,
  checkOptions,
  count,
  flag,
  having,
  list,
  ms,
  objects,
  oneOf,
  required,
  text,
} from '../../core/options.ts'
import type { Stage } from '../../core/delivery.ts'
import type { CheckedQueues, RabbitmqOrder } from './check-queues.ts'
import { RabbitmqClient } from './client.ts'
import type { RabbitmqMessageId } from './codec.ts'
import type { RabbitmqConnection } from './connection.ts'

export interface RabbitmqConsumerOptions extends ConsumerOptions {
  /**
   * A connection of amqplib, made with `connect(url, { recovery: true })` so that it reconnects. Do not publish on it: when
   * RabbitMQ is short of memory, it delivers nothing to connections that publish.
   */
  readonly connection: RabbitmqConnection
  /** Existing quorum queues, as made by `declareQueues()`. Every member of the group must name all of them. */
  readonly queues: readonly string[]
  /** The group's name. Members of one group share the queues. @defaultValue the alphabetically first name of `queues` */
  readonly group?: string
  /**
   * `key`: each queue has a single active consumer, and messages of a key are handled in order. `none`: all members share
   * every queue, without any order. @defaultValue `'key'`
   */
  readonly order?: RabbitmqOrder
  /** Most messages of one queue in memory, waiting or running. @defaultValue 256 */
  readonly prefetch?: number
  /**
   * Queues whose messages start before those of the others, which get `floor` of the starts (0.1) in any case.
   * @defaultValue all in order of arrival
   */
  readonly priority?: { readonly queues: readonly string[]; readonly floor?: number }
  /** Returns the message's id. @defaultValue the `message-id` or `ce_id` header, else the property `messageId` */
  readonly id?: RabbitmqMessageId
  /** Interval in ms at which a member checks whether it has more than its share of the queues. @defaultValue 1000 */
  readonly shareEveryMs?: number
  /** Whether to check the queues' arguments at the start. @defaultValue true */
  readonly checkQueues?: boolean
}

/**
 * Consumes quorum queues: many keys in parallel, each in order, over all members of the group. Each message is acked on
 * its own when it is done. RabbitMQ sees no nacks: a message that must wait stays unacked in memory and holds its key.
 */
export function rabbitmqConsumer(options: RabbitmqConsumerOptions): Consumer {
  const self = 'rabbitmqConsumer'
  const {
    connection,
    queues,
    group = [...options.queues].sort()[0] ?? '',
    order = 'key',
    prefetch = 256,
    priority,
    id,
    shareEveryMs = 1000,
    checkQueues = true,
    clock = systemClock,
    pipeline,
    ...rest
  } = checkOptions(self, options, {
    connection: required(having('createChannel', 'on', 'removeListener')),
    queues: required(list),
    group: text,
    order: oneOf('key', 'none'),
    prefetch: count(),
    priority: objects,
    id: callback,
    shareEveryMs: ms(),
    checkQueues: flag,
    ...consumerKinds,
  })
  if (queues.length === 0) throw badOption(self, 'queues', 'a list of at least one queue', queues)
  for (const [at, queue] of queues.entries())
    if (!text.fits(queue)) throw badOption(self, `queues[${at}]`, text.wanted, queue)
  requireFit(self, options)
  const first = priorityOf(self, priority, 'queues', queues)
  const notes = new Set(pipelineNotes(pipeline.stages))
  const client = new RabbitmqClient({
    connection,
    queues: [...new Set(queues)],
    group,
    order,
    prefetch,
    id,
    shareEveryMs,
    check: checkQueues,
    checked(found) {
      for (const note of found.notes) notes.add(note)
      requireShorterTimeout(found, pipeline.stages)
    },
    note: (said) => void notes.add(said),
    random: Math.random,
    clock,
  })
  return queueConsumer({
    client,
    group,
    pipeline,
    buffer: prefetch,
    ahead: Number.MAX_SAFE_INTEGER,
    ...(first && { priority: first }),
    clock,
    notes: () => notes,
    ...rest,
  })
}

/** A message that is not acked in time is taken back by the broker while its handler still runs. */
function requireShorterTimeout({ consumerTimeoutMs }: CheckedQueues, stages: readonly Stage[]): void {
  for (const { facts } of stages)
    if (facts?.timeoutMs !== undefined && facts.timeoutMs >= consumerTimeoutMs)
      throw badOption(
        'rabbitmqConsumer',
        'timeout() of the pipeline',
        `below the consumer timeout of the queues (${consumerTimeoutMs} ms)`,
        facts.timeoutMs,
      )
}
