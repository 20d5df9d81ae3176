import { systemClock, type Clock } from '../../core/clock.ts'
import { PublishError, type HoldfastError, type PublishFailure } from '../../core/errors.ts'
import { callback, checkArgument, checkOptions, clockKind, flag, having, ms, oneOf } from '../../core/options.ts'
import type { Outgoing, Publisher, PublishOptions } from '../../core/publisher.ts'
import { inTime } from '../in-time.ts'
import { bytesOfMessage } from './codec.ts'
import { ConnectionWatch } from './connection-watch.ts'
import { DestinationLink, type Sending } from './destination-link.ts'
import { isRefusal, reasonOf, unavailable } from './errors.ts'
import type { AmqpConnection } from './rhea-client.ts'
import { queue, type AmqpTerminus } from './terminus.ts'

export interface AmqpPublisherOptions {
  /** Returns the target of a destination. @defaultValue the queue that is named like the destination */
  readonly target?: (destination: string) => AmqpTerminus
  /**
   * `one-per-key`: of one key one message is under way, so that what is refused or lost is passed by none of its key.
   * `pipelined`: all at once; a broker that refuses messages while it is full then breaks the order. @defaultValue `'one-per-key'`
   */
  readonly order?: 'one-per-key' | 'pipelined'
  /**
   * Whether Artemis is told each message's id as `_AMQ_DUPL_ID`, so that it drops what it has already: of the last 20,000
   * ids of an address by default. For an outbox relay. Not for dead letters and redrives, which send an id again on purpose.
   * @defaultValue false
   */
  readonly duplicateIds?: boolean
  /** Longest wait for an outcome in ms. A later one counts as an outage: the messages may be stored or not. @defaultValue 30_000 */
  readonly timeoutMs?: number
  readonly clock?: Clock
}

export interface AmqpPublisher extends Publisher {
  /** Closes the links. The connection stays open: it is the service's. */
  close(): Promise<void>
}

/**
 * Publishes durable messages through a connection of rhea. Resolves when the broker has accepted all of them. Messages of
 * one key stay in order. What had no outcome when the connection was lost is sent again until `timeoutMs`.
 * @throws PublishError naming the messages that the broker will never take: to nowhere, too large, or not to be encoded.
 */
export function amqpPublisher(connection: AmqpConnection, options: AmqpPublisherOptions = {}): AmqpPublisher {
  checkArgument('amqpPublisher', 'connection', connection, having('create_session', 'on', 'removeListener', 'is_open'))
  const {
    target = queue,
    order = 'one-per-key',
    duplicateIds = false,
    timeoutMs = 30_000,
    clock = systemClock,
  } = checkOptions('amqpPublisher', options, {
    target: callback,
    order: oneOf('one-per-key', 'pipelined'),
    duplicateIds: flag,
    timeoutMs: ms(),
    clock: clockKind,
  })
  const links = new Links(connection, target, clock)
  return {
    async publish(messages: readonly Outgoing[], { signal }: PublishOptions = {}) {
      signal?.throwIfAborted()
      if (messages.length === 0) return
      const call = new PublishCall(messages, links, { isPipelined: order === 'pipelined', duplicateIds })
      try {
        await inTime(call.run(connection.container.message), signal, { broker: 'AMQP', timeoutMs, clock })
      } finally {
        call.end()
      }
    },
    close() {
      links.close()
      return Promise.resolve()
    },
  }
}

/** A link for each destination, on one connection. */
class Links {
  readonly #connection: AmqpConnection
  readonly #target: (destination: string) => AmqpTerminus
  readonly #clock: Clock
  readonly #watch: ConnectionWatch
  readonly #links = new Map<string, DestinationLink>()
  /** It does not come back by itself. */
  #over: HoldfastError | undefined

  constructor(connection: AmqpConnection, target: (destination: string) => AmqpTerminus, clock: Clock) {
    this.#connection = connection
    this.#target = target
    this.#clock = clock
    this.#watch = new ConnectionWatch(connection, {
      opened: () => {
        this.#over = undefined
        for (const link of this.#links.values()) link.flush()
      },
      lost: () => {
        for (const link of this.#links.values()) link.lost()
      },
      over: (error) => {
        this.#over = error
        for (const link of this.#links.values()) link.fail(error)
      },
    })
  }

  /** @throws HoldfastError (`unavailable`) when nothing can be sent any more; what `target` throws. */
  to(destination: string): DestinationLink {
    const known = this.#links.get(destination)
    if (known !== undefined) return known
    const link = new DestinationLink(this.#connection, this.#target(destination), this.#clock)
    this.#links.set(destination, link)
    return link
  }

  /** @throws HoldfastError (`unavailable`) */
  mustBeUsable(): void {
    if (this.#over !== undefined) throw this.#over
  }

  close(): void {
    const error = unavailable('the publisher was closed')
    this.#over = error
    this.#watch.dispose()
    for (const link of this.#links.values()) {
      link.fail(error)
      link.close()
    }
    this.#links.clear()
  }
}

/** One list, until each message has its outcome. */
class PublishCall {
  readonly #messages: readonly Outgoing[]
  readonly #links: Links
  readonly #how: { readonly isPipelined: boolean; readonly duplicateIds: boolean }
  readonly #sendings: Sending[] = []
  readonly #used = new Set<DestinationLink>()
  readonly #failures: PublishFailure[] = []
  readonly #outcome = Promise.withResolvers<void>()
  #left: number

  constructor(
    messages: readonly Outgoing[],
    links: Links,
    how: { readonly isPipelined: boolean; readonly duplicateIds: boolean },
  ) {
    this.#messages = messages
    this.#links = links
    this.#how = how
    this.#left = messages.length
  }

  async run(codec: AmqpConnection['container']['message']): Promise<void> {
    this.#links.mustBeUsable()
    for (const [index, message] of this.#messages.entries()) {
      try {
        const link = this.#links.to(message.destination)
        link.add(this.#sendingOf(index, message, codec))
        this.#used.add(link)
      } catch (error) {
        // It is about this message alone, and none of it was sent.
        this.#failed(index, error)
      }
    }
    for (const link of this.#used) link.flush()
    await this.#outcome.promise
  }

  /** What has not left must not leave behind the caller's back, and what has must not go again. */
  end(): void {
    for (const sending of this.#sendings) sending.isDropped = true
    for (const link of this.#used) link.purge()
  }

  #sendingOf(index: number, message: Outgoing, codec: AmqpConnection['container']['message']): Sending {
    const { duplicateIds, isPipelined } = this.#how
    const sending: Sending = {
      bytes: bytesOfMessage(message, { codec, duplicateIds }),
      lane: isPipelined ? null : message.key,
      settle: (error) => this.#settled(index, error),
      isDropped: false,
    }
    this.#sendings.push(sending)
    return sending
  }

  #settled(index: number, error: unknown): void {
    if (error === undefined) this.#countDown()
    else if (isRefusal(error)) this.#failed(index, new Error(reasonOf(error), { cause: error }))
    else {
      // At once: the next message of its key must not pass it.
      for (const sending of this.#sendings) sending.isDropped = true
      this.#outcome.reject(unavailable(`the broker did not take a message: ${reasonOf(error)}`, error))
    }
  }

  #failed(index: number, error: unknown): void {
    this.#failures.push({ index, error, permanent: true })
    this.#countDown()
  }

  #countDown(): void {
    if (--this.#left > 0) return
    const [first] = this.#failures
    if (first === undefined) return this.#outcome.resolve()
    const text = `${this.#failures.length} of ${this.#messages.length} messages were refused: ${reasonOf(first.error)}`
    this.#outcome.reject(new PublishError(text, this.#failures, { cause: first.error }))
  }
}
