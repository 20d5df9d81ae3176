import { asError } from '../../core/as-error.ts'
import type { ConfirmChannel, Message as ReturnedMessage, Options } from 'amqplib'
import { systemClock, type Clock } from '../../core/clock.ts'
import type { PublishFailure } from '../../core/errors.ts'
import { wireNames } from '../../core/message.ts'
import { callback, checkArgument, checkOptions, clockKind, having, ms } from '../../core/options.ts'
import type { Outgoing, Publisher } from '../../core/publisher.ts'
import { publishInHalves, type Blame, type HalvingPublish, type Numbered } from '../publish-in-halves.ts'
import { contentFrom } from './codec.ts'
import { isClosed, reasonOf, replyCodeOf, unavailable } from './errors.ts'
import { toQueue, type RabbitmqPlace, type RabbitmqRoute } from './route.ts'

/** What the publisher needs of a connection of amqplib, one with `recovery` or a plain one. */
export interface RabbitmqPublishConnection {
  createConfirmChannel(): Promise<ConfirmChannel>
}

export interface RabbitmqPublisherOptions {
  /** Returns a message's exchange and routing key. @defaultValue the queue named by the destination */
  readonly route?: RabbitmqRoute
  /** Longest wait for a confirmation in ms. A later one counts as an outage: the messages may be written or not. @defaultValue 30_000 */
  readonly timeoutMs?: number
  readonly clock?: Clock
}

export interface RabbitmqPublisher extends Publisher {
  /** Closes the channel. The connection stays open: it is the service's. */
  close(): Promise<void>
}

/**
 * Publishes through a connection of amqplib. Resolves when the broker has confirmed all messages; for quorum queues that
 * means that most members have them on disk. Messages of one key stay in order.
 * Give it its own connection: when the broker is short of memory, it stops reading from connections that publish.
 * @throws PublishError naming the messages that RabbitMQ will never take: to nowhere, too large, headers that AMQP cannot
 * carry. Those that a full queue refused are named as not permanent.
 */
export function rabbitmqPublisher(
  connection: RabbitmqPublishConnection,
  options: RabbitmqPublisherOptions = {},
): RabbitmqPublisher {
  checkArgument('rabbitmqPublisher', 'connection', connection, having('createConfirmChannel'))
  const {
    route = toQueue,
    timeoutMs = 30_000,
    clock = systemClock,
  } = checkOptions('rabbitmqPublisher', options, { route: callback, timeoutMs: ms(), clock: clockKind })
  const channels = new Channels(connection)

  async function send(numbered: readonly Numbered[], ended: () => boolean): Promise<readonly PublishFailure[]> {
    return new Sending(await channels.open(), route, ended).send(numbered)
  }

  const how: HalvingPublish = { broker: 'RabbitMQ', send, blames, reason: reasonOf, timeoutMs, clock }
  return {
    publish: (messages, { signal } = {}) => publishInHalves(messages, signal, how),
    close: () => channels.close(),
  }
}

/** The broker closed the channel because of some message of the request. */
class RefusedRequest extends Error {
  override readonly name = 'RefusedRequest'
  readonly blames: Blame
  constructor(cause: Error, blames: Blame) {
    super(reasonOf(cause), { cause })
    this.blames = blames
  }
}

function blames(error: unknown): Blame {
  return error instanceof RefusedRequest ? error.blames : 'nobody'
}

/** One channel at a time, and a new one when the last was closed: the broker closes it for a message that it refuses. */
class Channels {
  readonly #connection: RabbitmqPublishConnection
  #opening: Promise<OpenChannel> | undefined
  #isClosed = false

  constructor(connection: RabbitmqPublishConnection) {
    this.#connection = connection
  }

  async open(): Promise<OpenChannel> {
    if (this.#isClosed) throw unavailable('the publisher was closed')
    this.#opening ??= this.#open()
    return this.#opening
  }

  async #open(): Promise<OpenChannel> {
    try {
      return new OpenChannel(await this.#connection.createConfirmChannel(), () => (this.#opening = undefined))
    } catch (cause) {
      this.#opening = undefined
      throw unavailable(`RabbitMQ cannot be reached: ${reasonOf(cause)}`, cause)
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    const open = await this.#opening?.catch(() => undefined)
    await open?.channel.close().catch(() => {})
  }
}

class OpenChannel {
  readonly channel: ConfirmChannel
  error: Error | undefined
  isClosed = false
  /** Messages that came back and whose confirmation has not come yet: it follows on the same channel. */
  readonly #returned = new Map<string, { count: number; text: string }>()

  constructor(channel: ConfirmChannel, closed: () => void) {
    this.channel = channel
    channel.on('error', (error) => (this.error = error))
    channel.on('return', (message: ReturnedMessage) => this.#cameBack(message))
    channel.on('close', () => {
      this.isClosed = true
      closed()
    })
  }

  #cameBack({ fields, properties }: ReturnedMessage): void {
    const { exchange, routingKey } = fields
    const id: unknown = properties.headers?.[wireNames.id[0]]
    const name = nameOf({ exchange, routingKey }, String(id))
    const why = 'replyText' in fields ? String(fields.replyText) : 'NO_ROUTE'
    this.#returned.set(name, { count: (this.#returned.get(name)?.count ?? 0) + 1, text: why })
  }

  /** A return has no tag. Those of one place and one id share a fate, so each confirmation takes one of them. */
  takeReturned(place: RabbitmqPlace, id: string): string | undefined {
    const name = nameOf(place, id)
    const found = this.#returned.get(name)
    if (found === undefined) return undefined
    if (--found.count === 0) this.#returned.delete(name)
    return found.text
  }

  /** Resolves when the socket takes more, or never will. */
  drained(): Promise<void> {
    return new Promise((resolve) => {
      const goOn = (): void => {
        this.channel.removeListener('drain', goOn).removeListener('close', goOn)
        resolve()
      }
      this.channel.on('drain', goOn).on('close', goOn)
    })
  }
}

/** One list through one channel. */
class Sending {
  readonly #open: OpenChannel
  readonly #route: RabbitmqRoute
  readonly #ended: () => boolean
  readonly #failures: PublishFailure[] = []
  readonly #exchanges = new Set<string>()
  #isFull = false
  #lost: Error | undefined

  constructor(open: OpenChannel, route: RabbitmqRoute, ended: () => boolean) {
    this.#open = open
    this.#route = route
    this.#ended = ended
  }

  async send(numbered: readonly Numbered[]): Promise<readonly PublishFailure[]> {
    const confirmed: Promise<void>[] = []
    for (const each of numbered) {
      if (this.#ended() || this.#lost !== undefined) break
      confirmed.push(this.#publish(each))
      if (this.#isFull) await this.#open.drained()
    }
    await Promise.all(confirmed)
    if (this.#lost !== undefined) throw this.#problem(this.#lost)
    return this.#failures
  }

  #publish({ index, message }: Numbered): Promise<void> {
    this.#isFull = false
    // Not inside of a promise's executor: what is thrown here is about this message alone, and none of it was sent.
    try {
      const place = this.#route(message)
      const { content, options } = contentFrom(message)
      const { promise, resolve } = Promise.withResolvers<void>()
      const confirmed = (error: unknown): void => {
        this.#confirmed(index, message, place, error)
        resolve()
      }
      const { channel } = this.#open
      this.#exchanges.add(place.exchange)
      this.#isFull = !channel.publish(place.exchange, place.routingKey, content, withReturn(options), confirmed)
      return promise
    } catch (error) {
      if (isClosed(error)) this.#lost ??= this.#open.error ?? asError(error)
      else this.#failures.push({ index, error, permanent: true })
      return Promise.resolve()
    }
  }

  #confirmed(index: number, { id }: Outgoing, place: RabbitmqPlace, error: unknown): void {
    const returned = this.#open.takeReturned(place, id)
    if (error === null || error === undefined) {
      if (returned === undefined) return
      const where = place.exchange === '' ? `no queue ${place.routingKey}` : `no queue behind ${place.exchange}`
      const why = new Error(`${where} takes the routing key '${place.routingKey}': ${returned}`)
      this.#failures.push({ index, error: why, permanent: true })
    } else if (error instanceof Error && error.message === 'message nacked') {
      const why = new Error('the broker nacked it: its queue is full or has no leader', { cause: error })
      this.#failures.push({ index, error: why, permanent: false })
    } else this.#lost ??= this.#open.error ?? asError(error)
  }

  /** 404: no such exchange. 406: too large, or a header that the broker refuses. Both are about some of the messages. */
  #problem(error: Error): Error {
    const code = replyCodeOf(error)
    if (code === 404) return new RefusedRequest(error, this.#exchanges.size === 1 ? 'destination' : 'message')
    if (code === 406) return new RefusedRequest(error, 'message')
    return unavailable(`RabbitMQ did not confirm: ${reasonOf(error)}`, error)
  }
}

function withReturn(options: Options.Publish): Options.Publish {
  return { ...options, mandatory: true }
}

function nameOf({ exchange, routingKey }: RabbitmqPlace, id: string): string {
  return JSON.stringify([exchange, routingKey, id])
}
