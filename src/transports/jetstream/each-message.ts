import type { JsMsg } from '@nats-io/jetstream'
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
  signalKind,
  type Kinds,
} from '../../core/options.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import { deliveryOf } from './delivery.ts'
import { RecordReader, type NatsMessageId, type NatsRecord } from './record.ts'

export interface EachMessageOptions {
  /** Abort it on SIGTERM: nothing starts any more. Then await `drained()`, and drain the connection. */
  readonly signal?: AbortSignal
  /** Messages in flight at once; those of one key never are. @defaultValue 64 */
  readonly concurrency?: number
  /** The consumer's `ack_wait` in ms. What is in memory is extended at a third of it. @defaultValue 30_000 */
  readonly ackWaitMs?: number
  /** Returns the message's id. @defaultValue the header `message-id`, `ce_id` or `Nats-Msg-Id`, else the place in the stream */
  readonly id?: NatsMessageId
  /** First redelivery delay in ms, if the error gives none. It doubles with each nack, up to 30 s. @defaultValue 1000 */
  readonly redeliverMs?: number
  readonly clock?: Clock
}

const kinds: Kinds<EachMessageOptions> = {
  signal: signalKind,
  concurrency: count(),
  ackWaitMs: ms(100),
  id: callback,
  redeliverMs: ms(),
  clock: clockKind,
}

export interface EachMessage extends PlainHandle {
  (message: JsMsg): void
}

/**
 * For `consumer.consume({ callback: eachMessage(pipeline) })` in a service that has its own JetStream consumer. Acks a message
 * when it is done, and nacks nothing: what fails waits here, un-acked, with its key behind it.
 *
 * It does not promise what `natsConsumer()` does. The order of a key holds only within this process, and only while nothing is
 * redelivered: after a cut connection or a blocked process the server sends older messages behind younger ones. Two
 * processes on one durable consumer have no order between them.
 */
export function eachMessage(pipeline: Pipeline, options: EachMessageOptions = {}): EachMessage {
  checkArgument('eachMessage', 'pipeline', pipeline, having('step'))
  const {
    signal,
    concurrency = 64,
    ackWaitMs = 30_000,
    id,
    redeliverMs = 1000,
    clock = systemClock,
  } = checkOptions('eachMessage', options, kinds)
  /** By sequence: what the server sends again while it is in memory is known. */
  const known = new Set<number>()
  const records = new RecordReader({ id, place: ({ info, seq }) => `${info.stream}/${seq}` })
  const form = new PlainForm<NatsRecord>({
    system: 'nats',
    pipeline,
    source: pipeline.name,
    concurrency,
    redeliverMs,
    signal,
    clock,
    deliveryOf: (record, context) => deliveryOf(record, { destination: record.raw.subject, partition: null }, context),
    ack({ raw }) {
      known.delete(raw.seq)
      raw.ack()
    },
    extend: { everyMs: ackWaitMs / 3, one: ({ raw }) => raw.working() },
  })

  function eachMessage(raw: JsMsg): void {
    if (known.has(raw.seq)) return
    known.add(raw.seq)
    form.add(records.read(raw))
  }

  return Object.assign(eachMessage, { drained: () => form.drained(), health: () => form.health() })
}
