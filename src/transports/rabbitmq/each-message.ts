import type { Channel, ConsumeMessage } from 'amqplib'
import { PlainForm, type PlainHandle } from '../../consumer/queue/plain-form.ts'
import { systemClock, type Clock } from '../../core/clock.ts'
import {
  callback,
  checkArgument,
  checkOptions,
  clockKind,
  count,
  having,
  ms,
  required,
  signalKind,
  text,
} from '../../core/options.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import { recordFrom, type RabbitmqMessageId, type RabbitmqRecord } from './codec.ts'
import { deliveryOf } from './delivery.ts'

export interface EachMessageOptions {
  /** The channel that consumes: messages are acked there. Set its prefetch, which bounds what is in memory. */
  readonly channel: Pick<Channel, 'ack' | 'on'>
  readonly queue: string
  /** Abort it on SIGTERM: nothing starts any more. Then await `drained()`, and close the channel. */
  readonly signal?: AbortSignal
  /** Messages in flight at once; those of one key never are. @defaultValue 64 */
  readonly concurrency?: number
  /** Where the producer put the message's id. @defaultValue the `message-id` or `ce_id` header, else the property `messageId` */
  readonly id?: RabbitmqMessageId
  /** The first wait after a failure that does not say when; doubled every time, at most 30 s. @defaultValue 1000 */
  readonly redeliverMs?: number
  readonly clock?: Clock
}

export interface EachMessage extends PlainHandle {
  (message: ConsumeMessage | null): void
}

/**
 * For `channel.consume(queue, eachMessage(pipeline, { channel, queue }))` in a service that has its own channels. Acks a
 * message when it is done, and nacks nothing: what fails waits here, un-acked, with its key behind it.
 *
 * It does not promise what `rabbitmqConsumer()` does: the order of a key holds within this process alone, a channel that
 * closes is the service's to open again, and acks right before a close may be lost, so their messages come again.
 */
export function eachMessage(pipeline: Pipeline, options: EachMessageOptions): EachMessage {
  checkArgument('eachMessage', 'pipeline', pipeline, having('step'))
  const {
    channel,
    queue,
    signal,
    concurrency = 64,
    id,
    redeliverMs = 1000,
    clock = systemClock,
  } = checkOptions('eachMessage', options, {
    channel: required(having('ack', 'on')),
    queue: required(text),
    signal: signalKind,
    concurrency: count(),
    id: callback,
    redeliverMs: ms(),
    clock: clockKind,
  })
  const form = new PlainForm<RabbitmqRecord & { readonly raw: ConsumeMessage }>({
    system: 'rabbitmq',
    pipeline,
    source: queue,
    concurrency,
    redeliverMs,
    signal,
    clock,
    deliveryOf: (record, context) => deliveryOf(record, queue, context, id),
    ack: ({ raw }) => channel.ack(raw),
  })
  // Its messages are somebody else's from then on.
  channel.on('close', () => form.end(`the channel of queue ${queue} was closed`))

  function eachMessage(raw: ConsumeMessage | null): void {
    if (raw === null) return form.end(`RabbitMQ cancelled the consumer of queue ${queue}`)
    form.add({ ...recordFrom(raw, queue, id), raw })
  }

  return Object.assign(eachMessage, { drained: () => form.drained(), health: () => form.health() })
}
