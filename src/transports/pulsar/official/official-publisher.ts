import { HoldfastError, PermanentError, PublishError, type PublishFailure } from '../../../core/errors.ts'
import type { Outgoing } from '../../../core/publisher.ts'
import { metadataOf } from '../codec.ts'
import { isOfficialRefusal, type OfficialProducer, type OfficialPulsarClient } from './official-client.ts'

/** Publishes through the official client. It repeats by itself what had no receipt, until `timeoutMs`. */
export class OfficialPublishing {
  readonly #client: OfficialPulsarClient
  readonly #timeoutMs: number
  readonly #producers = new Map<string, Promise<OfficialProducer>>()

  constructor(client: OfficialPulsarClient, timeoutMs: number) {
    this.#client = client
    this.#timeoutMs = timeoutMs
  }

  async publish(messages: readonly Outgoing[]): Promise<void> {
    // All of a topic are handed over in one turn, in order: its producer keeps it.
    const outcomes = await Promise.allSettled(messages.map((message) => this.#send(message)))
    const failures: PublishFailure[] = []
    for (const [index, outcome] of outcomes.entries()) {
      if (outcome.status === 'fulfilled') continue
      const error: unknown = outcome.reason
      if (!(error instanceof PermanentError) && !isOfficialRefusal(error)) throw outage(error)
      failures.push({ index, error, permanent: true })
    }
    const [first] = failures
    if (first === undefined) return
    const text = `${failures.length} of ${messages.length} messages were refused by Pulsar: ${String(first.error)}`
    throw new PublishError(text, failures, { cause: first.error })
  }

  async close(): Promise<void> {
    const made = await Promise.allSettled(this.#producers.values())
    const closing = made.flatMap((one) => (one.status === 'fulfilled' ? [one.value.close()] : []))
    await Promise.allSettled(closing)
  }

  async #send(message: Outgoing): Promise<void> {
    const { body } = message
    if (body === null)
      throw new PermanentError(`the official client cannot send the tombstone ${message.id}: use pulsarClient()`)
    const { properties = [], partitionKey, isKeyBase64, eventTime } = metadataOf(message)
    if (isKeyBase64 === true)
      throw new PermanentError(`the official client cannot send the key of ${message.id}: use pulsarClient()`)
    const producer = await this.#producerFor(message.destination)
    await producer.send({
      data: Buffer.from(body.buffer, body.byteOffset, body.byteLength),
      properties: Object.fromEntries(properties.map(({ key = '', value = '' }) => [key, value])),
      ...(partitionKey === undefined ? {} : { partitionKey }),
      ...(eventTime === undefined ? {} : { eventTimestamp: eventTime }),
    })
  }

  #producerFor(topic: string): Promise<OfficialProducer> {
    const known = this.#producers.get(topic)
    if (known !== undefined) return known
    const made = this.#client.createProducer({
      ...{ topic, sendTimeoutMs: this.#timeoutMs, blockIfQueueFull: true, batchingEnabled: false },
      hashingScheme: 'JavaStringHash',
    })
    this.#producers.set(topic, made)
    made.catch(() => this.#producers.delete(topic))
    return made
  }
}

function outage(error: unknown): HoldfastError {
  return new HoldfastError('unavailable', `Pulsar: ${error instanceof Error ? error.message : String(error)}`, {
    cause: error,
  })
}
