import { systemClock, type Clock } from '../../core/clock.ts'
import { HoldfastError, PublishError, type PublishFailure } from '../../core/errors.ts'
import { checkArgument, checkOptions, clockKind, ms } from '../../core/options.ts'
import type { Outgoing, Publisher, PublishOptions } from '../../core/publisher.ts'
import { inTime } from '../in-time.ts'
import type { PulsarClient } from './client.ts'
import { metadataOf, wireKeyOf } from './codec.ts'
import { clientKind, isOfficial, type OfficialPulsarClient } from './official/official-client.ts'
import { OfficialPublishing } from './official/official-publisher.ts'
import { isDenied, PulsarError } from './protocol/errors.ts'
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
 * had no receipt when the connection was lost is sent again, in order, until `timeoutMs`. The numbers of an outbox are handed
 * to the broker: where it deduplicates, a relay that dies and its successor store each message once.
 * @throws PublishError naming the messages that the broker will never take: too large, or to a topic that it refuses.
 */
export function pulsarPublisher(
  client: PulsarClient | OfficialPulsarClient,
  options: PulsarPublisherOptions = {},
): PulsarPublisher {
  checkArgument('pulsarPublisher', 'client', client, clientKind)
  const { timeoutMs = 30_000, clock = systemClock } = checkOptions('pulsarPublisher', options, {
    timeoutMs: ms(),
    clock: clockKind,
  })
  if (isOfficial(client)) {
    const publishing = new OfficialPublishing(client, timeoutMs)
    return {
      async publish(messages, { signal } = {}) {
        signal?.throwIfAborted()
        await inTime(publishing.publish(messages), signal, { broker: 'Pulsar', timeoutMs, clock })
      },
      close: () => publishing.close(),
    }
  }
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
        const isPassing = error instanceof PulsarError && !isRefusal(error) && !isDenied(error)
        if (!isPassing || isOver()) throw error
        await new Promise<void>((resolve) => void this.#clock.after(100, resolve))
      }
    }
  }

  producerFor(message: Outgoing, partitions: number): TopicProducer {
    if (this.#isClosed) throw new HoldfastError('unavailable', 'the publisher was closed')
    const { destination, sequence } = message
    const topic = partitions === 0 ? destination : `${destination}-partition-${this.#partOf(message) % partitions}`
    // With another number of partitions, a key's numbers may go back on its new one.
    const name = sequence === undefined ? undefined : `holdfast/${sequence.source}/${partitions}`
    const own = name === undefined ? topic : `${topic} ${name}`
    let producer = this.#producers.get(own)
    if (producer === undefined) {
      producer = new TopicProducer({ client: this.#client, topic, clock: this.#clock, name })
      this.#producers.set(own, producer)
    }
    return producer
  }

  /** A repeat of a numbered message must go where it went before. */
  #partOf({ key, sequence }: Outgoing): number {
    const { partitionKey } = wireKeyOf(key)
    if (partitionKey !== undefined) return javaHash(partitionKey)
    return sequence === undefined ? this.#turn++ : sequence.number
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
      ...(message.sequence === undefined ? {} : { sequenceId: message.sequence.number }),
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
