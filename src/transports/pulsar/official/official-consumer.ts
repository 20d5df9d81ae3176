import type { DeliveryContext } from '../../../consumer/consumer.ts'
import type { Features } from '../../../consumer/features.ts'
import type { QueueClient, QueueHost, QueueMembership, QueueSession } from '../../../consumer/queue/queue-client.ts'
import { sleep, type Clock } from '../../../core/clock.ts'
import type { Delivery } from '../../../core/delivery.ts'
import { HoldfastError } from '../../../core/errors.ts'
import type { Bytes, Message } from '../../../core/message.ts'
import { features } from '../../features.ts'
import { readMessage, type PulsarMessageId } from '../codec.ts'
import type { SubscriptionType } from '../topic-link.ts'
import {
  isOfficialForGood,
  type OfficialConsumer,
  type OfficialMessage,
  type OfficialPulsarClient,
} from './official-client.ts'

export interface OfficialRecord {
  readonly message: Message<Bytes>
  readonly raw: OfficialMessage
  /** What the id function threw. */
  readonly error?: Error
}

export interface OfficialQueueOptions {
  readonly client: OfficialPulsarClient
  readonly topics: readonly string[]
  readonly subscription: string
  readonly type: SubscriptionType
  readonly startFrom: 'earliest' | 'latest'
  readonly window: number
  readonly id: PulsarMessageId | undefined
  readonly note: (said: string) => void
  readonly clock: Clock
}

const receiveMs = 1_000
const firstWaitMs = 100
const longestWaitMs = 3_000

/**
 * Consumes through the official client. It connects again by itself and does not say so: what was not acked comes again
 * behind its first copy, which still waits here. Order holds, and `idempotency()` suppresses the copies.
 */
export class OfficialQueueClient implements QueueClient<OfficialRecord> {
  readonly system = 'pulsar'
  readonly features: Features = features.pulsar
  readonly #options: OfficialQueueOptions

  constructor(options: OfficialQueueOptions) {
    this.#options = options
  }

  keyOf({ message }: OfficialRecord): string | null {
    return message.key
  }

  deliveryOf({ message, raw, error }: OfficialRecord, source: string, context: DeliveryContext): Delivery<Bytes> {
    if (error !== undefined) throw error
    const { pipeline, group, attempt, signal, draining } = context
    const position = raw.getMessageId().toString()
    const origin = { system: this.system, destination: source, partition: null, position, group }
    return { message, bytes: message.body, pipeline, origin, attempt, signal, draining, raw }
  }

  open(host: QueueHost<OfficialRecord>): Promise<QueueMembership> {
    const ending = new AbortController()
    const links = this.#options.topics.map((topic) => new OfficialLink(this.#options, topic, host))
    const running = links.map((link) => link.run(ending.signal))
    return Promise.resolve({
      problem: () => links.map((link) => link.problem()).find((problem) => problem !== undefined),
      quiet: () => ending.abort(new HoldfastError('stopped', 'shutting down')),
      leave: () => Promise.all(running).then(() => {}),
    })
  }
}

class OfficialLink {
  readonly #options: OfficialQueueOptions
  readonly #topic: string
  readonly #host: QueueHost<OfficialRecord>
  #consumer: OfficialConsumer | undefined
  #problem: string | undefined
  #credit = 0
  #wake = Promise.withResolvers<void>()
  #hasLeft = false

  constructor(options: OfficialQueueOptions, topic: string, host: QueueHost<OfficialRecord>) {
    this.#options = options
    this.#topic = topic
    this.#host = host
  }

  problem(): string | undefined {
    if (this.#consumer?.isConnected() === true) return undefined
    return this.#problem ?? `${this.#topic} is not connected`
  }

  async run(signal: AbortSignal): Promise<void> {
    const consumer = await this.#subscribed(signal)
    if (consumer === undefined) return
    if (signal.aborted) return void (await consumer.close().catch(() => {}))
    this.#consumer = consumer
    const owned = this.#host.own(this.#topic, this.#session(consumer))
    while (!this.#hasLeft) {
      const raw = this.#credit > 0 ? await this.#received(consumer) : await this.#wake.promise
      if (raw === undefined) continue
      this.#credit--
      // What is not taken stays unacked, and comes again.
      owned.deliver(this.#recordOf(raw))
    }
  }

  async #subscribed(signal: AbortSignal): Promise<OfficialConsumer | undefined> {
    const { client, subscription, type, startFrom, window, clock } = this.#options
    for (let waitMs = firstWaitMs; !signal.aborted; waitMs = Math.min(2 * waitMs, longestWaitMs)) {
      try {
        return await client.subscribe({
          ...{ topic: this.#topic, subscription, receiverQueueSize: window },
          subscriptionType: type === 'Key_Shared' ? 'KeyShared' : type,
          subscriptionInitialPosition: startFrom === 'earliest' ? 'Earliest' : 'Latest',
        })
      } catch (error) {
        this.#problem = `${this.#topic} cannot be subscribed: ${error instanceof Error ? error.message : String(error)}`
        if (isOfficialForGood(error)) {
          this.#host.failed(new HoldfastError('unavailable', this.#problem, { cause: error }))
          return undefined
        }
        this.#host.report('subscribe-failed', { source: this.#topic }, error)
      }
      await sleep(clock, waitMs, signal).catch(() => {})
    }
    return undefined
  }

  async #received(consumer: OfficialConsumer): Promise<OfficialMessage | undefined> {
    try {
      return await consumer.receive(receiveMs)
    } catch (error) {
      // Nothing came in time. Anything else is waited out, and `problem()` says that it is not connected.
      if (!/time.?out/i.test(String(error))) await sleep(this.#options.clock, firstWaitMs).catch(() => {})
      return undefined
    }
  }

  #recordOf(raw: OfficialMessage): OfficialRecord {
    const { id, note } = this.#options
    const properties = Object.entries(raw.getProperties()).map(([key, value]) => ({ key, value }))
    const [key, eventTime] = [raw.getPartitionKey(), raw.getEventTimestamp()]
    const meta = {
      ...{ properties, ...(eventTime > 0 ? { eventTime } : {}) },
      // It does not tell an empty key from none.
      ...(key === '' ? {} : { partitionKey: key }),
    }
    const entry = { meta, body: raw.getData() }
    const place = `${this.#topic}/${raw.getMessageId().toString()}`
    return { raw, ...readMessage(entry, { topic: this.#topic, place, brokerMs: raw.getPublishTimestamp(), id, note }) }
  }

  #session(consumer: OfficialConsumer): QueueSession<OfficialRecord> {
    return {
      credit: (messages) => {
        this.#credit += messages
        this.#rouse()
      },
      ack: ({ raw }) => consumer.acknowledge(raw).then(() => {}),
      leave: async () => {
        this.#hasLeft = true
        this.#rouse()
        await consumer.close().catch(() => {})
      },
    }
  }

  #rouse(): void {
    this.#wake.resolve()
    this.#wake = Promise.withResolvers()
  }
}
