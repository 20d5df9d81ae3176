import type { Channel, ConsumeMessage } from 'amqplib'
import { lanes } from '../../consumer/lanes.ts'
import { attemptAfter } from '../../consumer/redelivery.ts'
import { systemClock, type Clock } from '../../core/clock.ts'
import { HoldfastError } from '../../core/errors.ts'
import type { HasHealth } from '../../core/health.ts'
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
import { deliveryOf } from './client.ts'
import { recordFrom, type RabbitmqMessageId, type RabbitmqRecord } from './codec.ts'

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

export interface EachMessage extends HasHealth {
  (message: ConsumeMessage | null): void
  /** Resolves when nothing runs any more that was started before the signal's abort. */
  drained(): Promise<void>
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
  const ended = new AbortController()
  const draining = signal ?? ended.signal
  const executor = lanes<Item>({
    concurrency,
    ahead: Number.MAX_SAFE_INTEGER,
    redeliverMs,
    clock,
    run: (record, key, attempt) => {
      const context = { pipeline: pipeline.name, group: queue, key, attempt, signal: ended.signal, draining }
      return pipeline.step(deliveryOf(record, queue, context, id))
    },
    onNack: ({ message }, error, attempt) => attemptAfter(error, message.id, attempt),
  })
  const track = executor.open({ positions: false, onDone: ({ raw }) => channel.ack(raw) })
  let problem: string | undefined

  function end(why: string): void {
    problem ??= why
    executor.close(track)
    ended.abort(new HoldfastError('stopped', why))
  }

  // Its messages are somebody else's from then on.
  channel.on('close', () => end(`the channel of queue ${queue} was closed`))
  const drain = (): Promise<void> => {
    executor.quit()
    return executor.drain()
  }
  if (signal?.aborted === true) void drain()
  else signal?.addEventListener('abort', () => void drain(), { once: true })

  function eachMessage(raw: ConsumeMessage | null): void {
    if (raw === null) return end(`RabbitMQ cancelled the consumer of queue ${queue}`)
    const record = { ...recordFrom(raw, queue, id), raw }
    executor.add(track, record.message.key, record)
  }

  return Object.assign(eachMessage, {
    drained: drain,
    health: () => ({
      name: `rabbitmq ${pipeline.name}`,
      live: true,
      ready: problem === undefined && track.abandoned === 0 && !executor.halted,
      details: { queue, problem, inFlight: executor.inFlight, held: track.held.size, abandoned: track.abandoned },
    }),
  })
}

interface Item extends RabbitmqRecord {
  readonly raw: ConsumeMessage
}
