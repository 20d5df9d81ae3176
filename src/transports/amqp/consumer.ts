import type { Consumer, ConsumerOptions } from '../../consumer/consumer.ts'
import { pipelineNotes, requireFit } from '../../consumer/fits-pipeline.ts'
import { queueConsumer } from '../../consumer/queue/queue-consumer.ts'
import { systemClock } from '../../core/clock.ts'
import type { Delivery, Outcome } from '../../core/delivery.ts'
import { HoldfastError, isPermanent, textOf } from '../../core/errors.ts'
import type { Bytes } from '../../core/message.ts'
import {
  callback,
  checkOptions,
  clockKind,
  count,
  flag,
  having,
  list,
  ms,
  oneOf,
  required,
  text,
} from '../../core/options.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import { AmqpClient } from './client.ts'
import type { AmqpMessageId, AmqpRaw } from './codec.ts'
import type { AmqpCondition, AmqpConnection } from './rhea-client.ts'
import { checkSources, isSubscription, terminusOf, type AmqpSource } from './terminus.ts'

export interface AmqpConsumerOptions extends ConsumerOptions {
  /** A connection of rhea, with `idle_time_out` and with its default `reconnect`. It stays yours. */
  readonly connection: AmqpConnection
  /** `queue(address)`, `subscription(address, name)`, or a source as rhea takes it. */
  readonly sources: readonly AmqpSource[]
  /** The group's name in events, metrics and `health()`. @defaultValue the first subscription's name, else the first address */
  readonly group?: string
  /** Most messages of one source in memory, waiting or running: its credit. @defaultValue 256 */
  readonly window?: number
  /** How many messages of a source may pass one that waits. Then the source stands still until that one is done. @defaultValue 1024 */
  readonly ahead?: number
  /**
   * What becomes of a permanent error that no `deadLetter()` took. `hold`: it waits, as any failure does. `broker`: the
   * message is rejected, and the broker puts it into its dead-letter address, or deletes it where there is none.
   * @defaultValue `'hold'`
   */
  readonly reject?: 'hold' | 'broker'
  /** Returns the message's id. @defaultValue the property `message-id`, else the header `message-id` or `ce_id` */
  readonly id?: AmqpMessageId
  /** Whether to ask Artemis for the settings of the addresses at the start. @defaultValue true */
  readonly checkAddresses?: boolean
  /** Longest wait in ms for the connection to open at the start. rhea itself never gives up. @defaultValue 30_000 */
  readonly connectWithinMs?: number
}

/**
 * Consumes queues and shared subscriptions over AMQP 1.0: many keys in parallel, each in order. Each message is accepted
 * by itself when it is done. The broker sees no release: a message that must wait stays unsettled and holds its key.
 * The order of a key holds over all members where the broker keeps a message group on one consumer, as ActiveMQ does.
 */
export function amqpConsumer(options: AmqpConsumerOptions): Consumer {
  const self = 'amqpConsumer'
  const {
    connection,
    sources,
    pipeline,
    group,
    window = 256,
    ahead = 1024,
    reject = 'hold',
    id,
    checkAddresses = true,
    connectWithinMs = 30_000,
    clock = systemClock,
    ...rest
  } = checkOptions(self, options, {
    connection: required(having('create_session', 'on', 'removeListener', 'is_open')),
    sources: required(list),
    pipeline: required(having('step')),
    group: text,
    window: count(),
    ahead: count(0),
    reject: oneOf('hold', 'broker'),
    id: callback,
    checkAddresses: flag,
    connectWithinMs: ms(),
    concurrency: count(),
    redeliverMs: ms(),
    drainMs: ms(),
    hungAfterMs: ms(),
    clock: clockKind,
  })
  checkSources(self, sources)
  requireFit(self, options)
  const notes = new Set(pipelineNotes(pipeline.stages))
  const refused = new WeakMap<AmqpRaw, AmqpCondition>()
  const client = new AmqpClient({
    ...{ connection, sources, id, checkAddresses, connectWithinMs, refused, clock },
    sessionSize: ahead + window,
    note: (said) => void notes.add(said),
  })
  return queueConsumer({
    client,
    group: group ?? groupOf(sources),
    pipeline: reject === 'broker' ? rejecting(pipeline, refused) : pipeline,
    buffer: window,
    ahead: Number.MAX_SAFE_INTEGER,
    clock,
    notes: () => notes,
    ...rest,
  })
}

function groupOf(sources: readonly AmqpSource[]): string {
  const subscription = sources.find(isSubscription)
  const [first] = sources
  return subscription?.name ?? (first === undefined ? '' : terminusOf(first).address)
}

/** What fails for good counts as done, and is rejected instead of accepted. */
function rejecting(pipeline: Pipeline, refused: WeakMap<AmqpRaw, AmqpCondition>): Pipeline {
  async function step(delivery: Delivery<Bytes>): Promise<Outcome> {
    try {
      return await pipeline.step(delivery)
    } catch (error) {
      if (!isPermanent(error) || !isRaw(delivery.raw)) throw error
      const condition = error instanceof HoldfastError ? error.code : 'permanent'
      refused.set(delivery.raw, { condition: `holdfast:${condition}`, description: textOf(error).errorMessage })
      return 'dead-lettered'
    }
  }
  return { ...pipeline, step }
}

function isRaw(raw: unknown): raw is AmqpRaw {
  return typeof raw === 'object' && raw !== null && 'delivery' in raw
}
