import { systemClock, type Clock } from '../../core/clock.ts'
import { HoldfastError, PublishError, type PublishFailure } from '../../core/errors.ts'
import { checkArgument, checkOptions, clockKind, having, ms } from '../../core/options.ts'
import type { Outgoing, Publisher, PublishOptions } from '../../core/publisher.ts'
import { inTime } from '../in-time.ts'
import type { PulsarClient } from './client.ts'
import { metadataOf } from './codec.ts'
import { PulsarError } from './protocol/errors.ts'
import { isRefusal, TopicProducer, type Sending } from './topic-producer.ts'

export interface PulsarPublisherOptions {
  /** Longest wait for a receipt in ms. A later one counts as an outage: the messages may be stored or not. @defaultValue 30_000 */
  readonly timeoutMs?: number
  readonly clock?: Clock
}

export interface PulsarPublisher extends Publisher {
  /** Closes the producers. The client stays open: it is the service's. */
  close(): Promise<void>
}

/**
 * Publishes to topics of Pulsar. Resolves when the broker has stored all messages. Messages of one key stay in order. What
 * had no receipt when the connection was lost is sent again, in order, until `timeoutMs`.
 * @throws PublishError naming the messages that the broker will never take: too large, or to a topic that it refuses.
 */
export function pulsarPublisher(client: PulsarClient, options: PulsarPublisherOptions = {}): PulsarPublisher {
  checkArgument('pulsarPublisher', 'client', client, having('connectionFor', 'partitionsOf'))
  const { timeoutMs = 30_000, clock = systemClock } = checkOptions('pulsarPublisher', options, {
    timeoutMs: ms(),
    clock: clockKind,
  })
  const topics = new Topics(client, clock)
  return {
    async publish(messages: readonly Outgoing[], { signal }: PublishOptions = {}) {
      signal?.throwIfAborted()
      if (messages.length === 0) return
      const call = new PublishCall(messages)
      try {
        await inTime(call.run(topics), signal, { broker: 'Pulsar', timeoutMs, clock })
      } finally {
        call.end()
      }
    },
    close: () => topics.close(),
  }
}

/** A producer for each topic, and for each partition of those that have some. */
class Topics {
  readonly #client: PulsarClient
  readonly #clock: Clock
  readonly #partitions = new Map<string, Promise<number>>()
  readonly #producers = new Map<string, TopicProducer>()
  #turn = 0
  #isClosed = false

  constructor(client: PulsarClient, clock: Clock) {
    this.#client = client
    this.#clock = clock
  }

  /** Asked once for each topic; again where nobody answered. */
  async partitionsOf(topic: string, isOver: () => boolean): Promise<number> {
    for (;;) {
      const asked = this.#partitions.get(topic) ?? this.#client.partitionsOf(topic)
      this.#partitions.set(topic, asked)
      try {
        return await asked
      } catch (error) {
        this.#partitions.delete(topic)
        const isPassing = error instanceof PulsarError && !isRefusal(error) && !error.code.startsWith('Auth')
        if (!isPassing || isOver()) throw error
        await new Promise<void>((resolve) => void this.#clock.after(100, resolve))
      }
    }
  }

  producerFor({ destination, key }: Outgoing, partitions: number): TopicProducer {
    if (this.#isClosed) throw new HoldfastError('unavailable', 'the publisher was closed')
    const number = key === null ? this.#turn++ % Math.max(1, partitions) : javaHash(key) % Math.max(1, partitions)
    const name = partitions === 0 ? destination : `${destination}-partition-${number}`
    let producer = this.#producers.get(name)
    if (producer === undefined) {
      producer = new TopicProducer(this.#client, name, this.#clock)
      this.#producers.set(name, producer)
    }
    return producer
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all([...this.#producers.values()].map((producer) => producer.close()))
  }
}

/** As Pulsar's own clients choose a partition by default. */
function javaHash(key: string): number {
  let hash = 0
  for (let at = 0; at < key.length; at++) hash = (31 * hash + key.charCodeAt(at)) | 0
  return hash & 0x7fffffff
}

/** One list, until each message has its outcome. */
class PublishCall {
  readonly #messages: readonly Outgoing[]
  readonly #sendings: Sending[] = []
  readonly #used = new Set<TopicProducer>()
  readonly #failures: PublishFailure[] = []
  readonly #outcome = Promise.withResolvers<void>()
  #left: number
  #isOver = false

  constructor(messages: readonly Outgoing[]) {
    this.#messages = messages
    this.#left = messages.length
  }

  async run(topics: Topics): Promise<void> {
    this.#outcome.promise.catch(() => {})
    const partitions = new Map<string, number | PulsarError>()
    for (const topic of new Set(this.#messages.map(({ destination }) => destination)))
      partitions.set(topic, await this.#partitionsOf(topics, topic))
    if (this.#isOver) return
    for (const [index, message] of this.#messages.entries()) {
      const count = partitions.get(message.destination)
      if (typeof count !== 'number') this.#settled(index, count)
      else this.#add(index, message, topics.producerFor(message, count))
    }
    for (const producer of this.#used) producer.flush()
    await this.#outcome.promise
  }

  async #partitionsOf(topics: Topics, topic: string): Promise<number | PulsarError> {
    try {
      return await topics.partitionsOf(topic, () => this.#isOver)
    } catch (error) {
      return error instanceof PulsarError ? error : new PulsarError('Disconnected', String(error))
    }
  }

  #add(index: number, message: Outgoing, producer: TopicProducer): void {
    const sending: Sending = {
      metadata: metadataOf(message),
      body: message.body ?? new Uint8Array(),
      settle: (error) => this.#settled(index, error),
      isDropped: false,
    }
    this.#sendings.push(sending)
    this.#used.add(producer)
    producer.add(sending)
  }

  /** What has not left must not leave behind the caller's back, and what has must not go again. */
  end(): void {
    this.#isOver = true
    for (const sending of this.#sendings) sending.isDropped = true
    for (const producer of this.#used) producer.purge()
  }

  #settled(index: number, error: PulsarError | undefined): void {
    if (error !== undefined && !isRefusal(error)) {
      for (const sending of this.#sendings) sending.isDropped = true
      return this.#outcome.reject(new HoldfastError('unavailable', `Pulsar: ${error.message}`, { cause: error }))
    }
    if (error !== undefined) this.#failures.push({ index, error, permanent: true })
    if (--this.#left > 0) return
    const [first] = this.#failures
    if (first === undefined) return this.#outcome.resolve()
    const text = `${this.#failures.length} of ${this.#messages.length} messages were refused by Pulsar: ${String(first.error)}`
    this.#outcome.reject(new PublishError(text, this.#failures, { cause: first.error }))
  }
}
