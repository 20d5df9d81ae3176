import type { Channel } from 'amqplib'
import type {
  Ownership,
  QueueClient,
  QueueHost,
  QueueMembership,
  QueueSession,
} from '../../consumer/queue/queue-client.ts'
import type { DeliveryContext } from '../../consumer/consumer.ts'
import { within } from '../../consumer/run.ts'
import { sleep, type Clock } from '../../core/clock.ts'
import type { Delivery } from '../../core/delivery.ts'
import { HoldfastError } from '../../core/errors.ts'
import type { Bytes } from '../../core/message.ts'
import type { Features } from '../../consumer/features.ts'
import { features } from '../features.ts'
import { checkQueues, type CheckedQueues, type RabbitmqOrder } from './check-queues.ts'
import { recordFrom, type RabbitmqMessage, type RabbitmqMessageId, type RabbitmqRecord } from './codec.ts'
import { ChannelSource, ignore, type RabbitmqConnection } from './connection.ts'
import { reasonOf } from './errors.ts'
import { FairShare, isAborted } from './fair-share.ts'

export interface RabbitmqClientOptions {
  readonly connection: RabbitmqConnection
  readonly queues: readonly string[]
  readonly group: string
  readonly order: RabbitmqOrder
  readonly prefetch: number
  readonly id: RabbitmqMessageId | undefined
  readonly shareEveryMs: number
  readonly checked: (found: CheckedQueues) => void
  readonly check: boolean
  readonly random: () => number
  readonly clock: Clock
  /** Said once, for `health()`. */
  readonly note: (text: string) => void
}

const system = 'rabbitmq'
const flushMs = 2_000
const closeMs = 2_000
const againMs = 250
const longestAgainMs = 5_000

/** What of the consumer is RabbitMQ's alone: channels, the check of the queues, and who has which queue. */
export class RabbitmqClient implements QueueClient<RabbitmqRecord> {
  readonly system: string = system
  readonly features: Features = features.rabbitmq
  readonly #options: RabbitmqClientOptions
  readonly #channels: ChannelSource

  constructor(options: RabbitmqClientOptions) {
    this.#options = options
    this.#channels = new ChannelSource(options.connection, options.clock)
  }

  keyOf({ message }: RabbitmqRecord): string | null {
    return message.key
  }

  /** A message that the broker dead-lettered on its way has lost the mark. */
  isFirst({ raw: { fields, properties } }: RabbitmqRecord): boolean {
    return !fields.redelivered && properties.headers?.['x-death'] === undefined
  }

  deliveryOf(record: RabbitmqRecord, source: string, context: DeliveryContext): Delivery<Bytes> {
    return deliveryOf(record, source, context, this.#options.id)
  }

  async check(signal: AbortSignal): Promise<void> {
    const { queues, order, check, checked } = this.#options
    try {
      if (check) checked(await checkQueues({ queues, order, open: () => this.#channels.open(signal) }))
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      this.#channels.dispose()
    }
  }

  open(host: QueueHost<RabbitmqRecord>): Promise<QueueMembership> {
    return Promise.resolve(new RabbitmqMembership(this.#options, this.#channels, host))
  }
}

/** A message as a delivery. */
export function deliveryOf(
  record: RabbitmqRecord,
  queue: string,
  context: DeliveryContext,
  id: RabbitmqMessageId | undefined,
): Delivery<Bytes> {
  // Asked again at every attempt: what it needs may be there by now.
  const { raw, message, idError } = record.idError === undefined ? record : recordFrom(record.raw, queue, id)
  if (idError !== undefined) throw idError
  const { pipeline, group, attempt, first = false, signal, draining } = context
  const { exchange, routingKey, deliveryTag } = raw.fields
  const origin = {
    system,
    // The default exchange has no name: what was published to it was published to the queue.
    destination: exchange === '' ? queue : exchange,
    partition: queue,
    position: String(deliveryTag),
    group,
    routingKey,
  }
  return { message, bytes: message.body, pipeline, origin, attempt, first, signal, draining, raw }
}

class RabbitmqMembership implements QueueMembership {
  readonly #channels: ChannelSource
  readonly #holders: readonly QueueHolder[]
  readonly #ending = new AbortController()
  readonly #sharing: Promise<void>

  constructor(options: RabbitmqClientOptions, channels: ChannelSource, host: QueueHost<RabbitmqRecord>) {
    this.#channels = channels
    this.#holders = options.queues.map((queue) => new QueueHolder(queue, options, channels, host))
    for (const holder of this.#holders) void holder.run(this.#ending.signal)
    this.#sharing =
      options.order === 'key' && options.queues.length > 1 ? this.#share(options, host) : Promise.resolve()
  }

  #share(options: RabbitmqClientOptions, host: QueueHost<RabbitmqRecord>): Promise<void> {
    const { group, queues, shareEveryMs, random, clock } = options
    const share = new FairShare<RabbitmqRecord>({
      group,
      queues: queues.length,
      everyMs: shareEveryMs,
      channels: this.#channels,
      owned: () => this.#holders.flatMap(({ owned }) => (owned === undefined || owned.isOver ? [] : [owned])),
      failed: (error) => host.report('share-failed', { group }, error),
      random,
      clock,
    })
    return share.run(this.#ending.signal)
  }

  problem(): string | undefined {
    return this.#holders.find(({ problem }) => problem !== undefined)?.problem
  }

  quiet(): void {
    this.#ending.abort(new HoldfastError('stopped', 'shutting down'))
  }

  async leave(): Promise<void> {
    await this.#sharing
    this.#channels.dispose()
  }
}

/** Keeps one queue consumed: one channel after the other, each of them one ownership. */
class QueueHolder {
  readonly #queue: string
  readonly #options: RabbitmqClientOptions
  readonly #channels: ChannelSource
  readonly #host: QueueHost<RabbitmqRecord>
  owned: Ownership<RabbitmqRecord> | undefined
  problem: string | undefined

  constructor(queue: string, options: RabbitmqClientOptions, channels: ChannelSource, host: QueueHost<RabbitmqRecord>) {
    this.#queue = queue
    this.#options = options
    this.#channels = channels
    this.#host = host
    this.problem = `queue ${queue} is not consumed yet`
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options
    let waitMs = againMs
    while (!signal.aborted) {
      try {
        const channel = await this.#channels.open(signal)
        const [ended] = await this.#consume(channel)
        waitMs = againMs
        await ended
      } catch (error) {
        if (isAborted(signal)) return
        if (error instanceof HoldfastError) return this.#host.failed(error)
        this.problem = `queue ${this.#queue} cannot be consumed: ${reasonOf(error)}`
        this.#host.report('consume-failed', { source: this.#queue }, error)
      }
      await sleep(clock, waitMs, signal).catch(ignore)
      waitMs = Math.min(2 * waitMs, longestAgainMs)
    }
  }

  /** Resolves when the channel consumes, with a promise of its end. */
  async #consume(channel: Channel): Promise<readonly [ended: Promise<void>]> {
    const { prefetch } = this.#options
    const gone = Promise.withResolvers<void>()
    const life: { error?: Error; owned?: Ownership<RabbitmqRecord> } = {}
    channel.on('error', (error) => (life.error = error))
    channel.on('close', () => {
      this.#closed(life.owned, life.error)
      gone.resolve()
    })
    await channel.prefetch(prefetch)
    const consumerTag = `holdfast-${crypto.randomUUID()}`
    const owned = this.#host.own(this.#queue, this.#session(channel, consumerTag))
    life.owned = this.owned = owned
    await channel.consume(this.#queue, this.#receiver(channel, owned), { consumerTag })
    this.problem = undefined
    // In an array: a promise that a promise resolves with would be awaited.
    return [gone.promise]
  }

  /** The broker gives its messages to somebody again: nothing of this channel may be acked on another. */
  #closed(owned: Ownership<RabbitmqRecord> | undefined, error: Error | undefined): void {
    if (owned === undefined || owned.isOver) return
    this.problem = `the channel of queue ${this.#queue} was closed${error === undefined ? '' : `: ${reasonOf(error)}`}`
    owned.lost(new HoldfastError('stopped', this.problem, { cause: error }))
  }

  #receiver(channel: Channel, owned: Ownership<RabbitmqRecord>): (raw: RabbitmqMessage | null) => void {
    const { id, note } = this.#options
    const queue = this.#queue
    return (raw) => {
      // The broker cancelled the consumer: the queue was deleted, or a message was not acked in time.
      if (raw === null) return void channel.close().catch(ignore)
      const record = recordFrom(raw, queue, id)
      if (record.isAnonymous) note(withoutId(queue))
      owned.deliver(record)
    }
  }

  #session(channel: Channel, consumerTag: string): QueueSession<RabbitmqRecord> {
    const { clock, order } = this.#options
    // A quorum queue drops acks that it has not taken up yet when the channel closes, and an answer on this channel that
    // comes after them says that they are in. In order: a second consumer stands in line behind the first and gets
    // nothing, while cancelling would let the next member begin in the middle. Without any order, cancelling will do.
    const flush = () => (order === 'key' ? channel.consume(this.#queue, ignore) : channel.cancel(consumerTag))
    return {
      // One by one: `multiple` would ack what still runs.
      ack: ({ raw }) => channel.ack(raw),
      async leave() {
        await within(clock, flushMs, flush())
        await within(clock, closeMs, channel.close())
      },
    }
  }
}

function withoutId(queue: string): string {
  return `queue ${queue} has messages without an id: when one is redelivered nobody knows it again, so no duplicate is suppressed. Set messageId when publishing`
}
