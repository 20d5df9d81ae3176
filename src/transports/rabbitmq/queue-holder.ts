import type { Channel } from 'amqplib'
import type { Ownership, QueueHost, QueueSession } from '../../consumer/queue/queue-client.ts'
import { within } from '../../consumer/run.ts'
import { sleep, type Clock } from '../../core/clock.ts'
import { HoldfastError } from '../../core/errors.ts'
import type { RabbitmqOrder } from './check-queues.ts'
import { recordFrom, type RabbitmqMessage, type RabbitmqMessageId, type RabbitmqRecord } from './codec.ts'
import { ignore, type ChannelSource } from './connection.ts'
import { reasonOf } from './errors.ts'
import { isAborted } from './fair-share.ts'

export interface HolderOptions {
  readonly order: RabbitmqOrder
  readonly prefetch: number
  readonly id: RabbitmqMessageId | undefined
  readonly clock: Clock
  /** Said once, for `health()`. */
  readonly note: (text: string) => void
}

const flushMs = 2_000
const closeMs = 2_000
const againMs = 250
const longestAgainMs = 5_000

/** Keeps one queue consumed: one channel after the other, each of them one ownership. */
export class QueueHolder {
  readonly #queue: string
  readonly #options: HolderOptions
  readonly #channels: ChannelSource
  readonly #host: QueueHost<RabbitmqRecord>
  owned: Ownership<RabbitmqRecord> | undefined
  problem: string | undefined

  constructor(queue: string, options: HolderOptions, channels: ChannelSource, host: QueueHost<RabbitmqRecord>) {
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
      ack: ({ raw }) => channel.ack(raw),
      // `multiple`: the channel has this one consumer, so everything up to the tag came to this ownership.
      ackUpTo: ({ raw }) => channel.ack(raw, true),
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
