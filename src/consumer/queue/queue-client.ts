import type { Delivery } from '../../core/delivery.ts'
import type { Bytes } from '../../core/message.ts'
import type { DeliveryContext } from '../consumer.ts'
import type { Features } from '../features.ts'

/**
 * A client of a broker that acks each message by itself: RabbitMQ, NATS JetStream, AMQP 1.0, Pulsar. It owns the
 * connection, the channels (links, leases, subscriptions) and who owns which source. The consumer does the rest: order,
 * concurrency, waits, acks, extensions, drains, stops and health.
 *
 * The consumer nacks nothing. A waiting message stays un-acked in its lane, because every broker that was tried redelivers
 * a nacked message behind later ones of its key.
 */
export interface QueueClient<Raw> {
  /** As in `delivery.origin.system` and in events. */
  readonly system: string
  /** What the broker can do, for `describe()`. */
  readonly features?: Features
  /**
   * Whether an ownership begins again at one position, the oldest un-acked message (a JetStream floor). Then `ahead`
   * bounds what starts past it, and a hand-over fills the gaps before it leaves. @defaultValue false
   */
  readonly positions?: boolean
  /** Ms until the broker redelivers. Every message in memory is extended at a third of it. Needs `session.extend`. */
  readonly extendMs?: number
  /** Byte-exact: `keyFromBytes()`. Must not throw. */
  keyOf(record: Raw): string | null
  /**
   * Whether the broker guarantees that it never gave the message to anybody before. Where it cannot say so for sure, leave it
   * out. With `positions` the consumer knows it by itself. @defaultValue none is known to be the first
   */
  isFirst?(record: Raw): boolean
  /** Its place in its source as one number, as a replay names it. @defaultValue `origin.position` of its delivery */
  positionOf?(record: Raw): number
  /** A throw is a nack of this message. */
  deliveryOf(record: Raw, source: string, context: DeliveryContext): Delivery<Bytes>
  /** Rejects with one sentence that names the setting. */
  check?(signal: AbortSignal): Promise<void>
  /** Starts to consume. Resolves before it has succeeded. */
  open(host: QueueHost<Raw>): Promise<QueueMembership>
}

/** What a client tells the consumer. */
export interface QueueHost<Raw> {
  /**
   * This member owns a source (a queue, a subject, a link) from now on: it opened a channel or claimed a lease. An earlier
   * ownership of the source is lost by that. Keys that still run there are waited for.
   */
  own(source: string, session: QueueSession<Raw>): Ownership<Raw>
  /** The client failed for good: `run()` rejects with this error. */
  failed(error: Error): void
  /** Publishes a `consumer-changed` event. */
  report(change: string, detail: Readonly<Record<string, unknown>>, error?: unknown): void
}

/** One ownership of one source: an epoch. Once it is over, every call on it changes nothing. */
export interface Ownership<Raw> {
  readonly source: string
  readonly isOver: boolean
  /** Whether a hand-over has begun. */
  readonly isLeaving: boolean
  /** Whether a message was delivered or runs. A fair share counts that. */
  readonly isActive: boolean
  /** False: it is over, so the message stays with the broker. */
  deliver(record: Raw): boolean
  /** The channel, link or lease is lost: running handlers are told to stop, and nothing more is acked. */
  lost(error: Error): void
  /**
   * Gives the source back in order. It starts nothing more, lets running handlers end until `drainMs`, acks them, then
   * awaits `session.leave`. The ownership is over then. It never rejects.
   */
  handOver(why: string): Promise<void>
}

/** What the consumer asks of a client for one ownership. After its end only `leave` is called. */
export interface QueueSession<Raw> {
  /** That many more messages may come. Leave it out if the broker bounds un-acked messages (prefetch, `max_ack_pending`). */
  credit?(messages: number): void
  /** Acks the message. A rejection is reported, and the message comes again: the broker has no ack. */
  ack(record: Raw): void | Promise<void>
  /**
   * Acks the message and all that were delivered before it. Called only where all of those are done. Leave it out where the
   * broker acks one message at a time. With it, messages that end in one turn of the event loop are acked together.
   */
  ackUpTo?(record: Raw): void | Promise<void>
  /**
   * Whether each ack takes in all that were delivered before, as with JetStream's ack policy `all`. Then a message is acked
   * once nothing before it is unfinished, and extended until then.
   */
  readonly cumulative?: boolean
  /** Keeps the broker from redelivering a message that is in memory. */
  extend?(record: Raw, ms: number): void
  /**
   * Nothing more is acked. Resolves when the acks so far are in and the source is free for the next owner, with the rest
   * back in its order. `rest`: what was delivered and not acked, in the order of arrival.
   */
  leave(rest: readonly Raw[]): Promise<void>
}

/** What a client opened, for as long as it runs. */
export interface QueueMembership {
  /** Why it cannot work now (no connection, no queue), for `health()`. */
  problem?(): string | undefined
  /** The consumer stops: no further ownership begins. Every ownership is handed over by the consumer. */
  quiet(): void
  /** After all ownerships were handed over: closes what the client opened. Bounded by the consumer. */
  leave(): Promise<void>
}
