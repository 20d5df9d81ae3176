import { HoldfastError } from '../../core/errors.ts'
import { fullName, type PulsarClient } from './client.ts'
import { consumerName, nextConsumerId } from './consumer-ids.ts'
import type { MessageId } from './protocol/commands.ts'
import type { Connection } from './protocol/connection.ts'
import { PulsarError } from './protocol/errors.ts'

const exclusive = 0
const earliest = 1

/** One topic's subscription in our hands alone. */
export class Seek {
  readonly topic: string
  readonly #connection: Connection
  readonly #consumerId: number

  private constructor(topic: string, connection: Connection, consumerId: number) {
    this.topic = topic
    this.#connection = connection
    this.#consumerId = consumerId
  }

  /** @throws HoldfastError `bad-order` while anybody else is attached. */
  static async attach(client: PulsarClient, topic: string, subscription: string): Promise<Seek> {
    try {
      const connection = await client.connectionFor(topic)
      const consumerId = nextConsumerId()
      const asked = { topic: fullName(topic), subscription, consumerId, consumerName: consumerName(consumerId) }
      connection.consumers.set(consumerId, { closed: () => {} })
      await connection.request('subscribe', {
        ...{ ...asked, type: exclusive, isDurable: true, initialPosition: earliest },
      })
      return new Seek(topic, connection, consumerId)
    } catch (error) {
      throw refusal(topic, subscription, error)
    }
  }

  async to(messageId: MessageId): Promise<void> {
    try {
      await this.#connection.request('seek', { consumerId: this.#consumerId, messageId })
    } catch (cause) {
      throw new HoldfastError('unavailable', `replay: ${this.topic} was not moved: ${String(cause)}`, { cause })
    }
  }

  /** The broker closes it after a seek by itself. */
  leave(): void {
    const consumerId = this.#consumerId
    if (this.#connection.consumers.delete(consumerId))
      this.#connection.request('closeConsumer', { consumerId }).catch(() => {})
  }
}

function refusal(topic: string, subscription: string, cause: unknown): HoldfastError {
  if (cause instanceof PulsarError && cause.code === 'ConsumerBusy')
    return new HoldfastError('bad-order', `replay: group '${subscription}' runs on ${topic}. Stop its members first`, {
      cause,
    })
  return new HoldfastError('unavailable', `replay: ${topic} cannot be moved: ${String(cause)}`, { cause })
}
