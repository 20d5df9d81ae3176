import { pulsarClient, pulsarConsumer, type PulsarConsumerOptions } from 'holdfast/pulsar'
import type { Delivery } from '../../../src/core/delivery.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { outgoing, type Outgoing } from '../../../src/core/publisher.ts'
import { fullName, type PulsarClient } from '../../../src/transports/pulsar/client.ts'
import type { Metadata } from '../../../src/transports/pulsar/protocol/commands.ts'
import { sendFrame } from '../../../src/transports/pulsar/protocol/frames.ts'
import { serviceAddress, uniqueName, type ServiceAddress } from '../../support/services.ts'

/** What tests on the real broker are made of. Close its clients after each test. */
export class PulsarBench {
  readonly clients: PulsarClient[] = []
  readonly #address: () => ServiceAddress

  /** @param address the broker of all tests, unless another one is given */
  constructor(address: () => ServiceAddress = () => serviceAddress('pulsar')) {
    this.#address = address
  }

  connect(serviceUrl: string = this.#address().url): PulsarClient {
    const client = pulsarClient({ serviceUrl })
    this.clients.push(client)
    return client
  }

  /** A member of the subscription `billing`, on a client of its own. */
  member(
    topic: string,
    handler: (delivery: Delivery) => Promise<unknown> | void,
    options: Partial<PulsarConsumerOptions> = {},
  ) {
    const stop = new AbortController()
    const client = options.client ?? this.connect()
    const consumer = pulsarConsumer({
      ...{ client, topics: [topic], subscription: 'billing', redeliverMs: 50, drainMs: 1_000 },
      pipeline: pipeline('orders').handle(handler),
      ...options,
    })
    const running = consumer.run(stop.signal)
    running.catch(() => {})
    const end = (): Promise<void> => (stop.abort(), running)
    return { consumer, client, running, end }
  }

  /** As a producer of somebody else sends it. */
  async sendRaw(topic: string, metadata: Metadata, body: Buffer): Promise<void> {
    const connection = await this.connect().connectionFor(topic)
    const stored = Promise.withResolvers<void>()
    const producerId = 77_777
    connection.producers.set(producerId, { receipt: () => stored.resolve(), closed: () => {} })
    const producerName = uniqueName('raw')
    await connection.request('producer', { topic: fullName(topic), producerId, producerName, isNameGiven: true })
    const own = { producerName, sequenceId: 0, publishTime: Date.now() }
    connection.write(sendFrame({ producerId, sequenceId: 0, messages: 1 }, { ...metadata, ...own }, body))
    await stored.promise
  }

  /** Asks the web service of the broker. */
  admin(path: string, method = 'GET', body?: unknown): Promise<unknown> {
    return this.web(`admin/v2/${path}`, method, body)
  }

  /** The same outside its administration. */
  async web(path: string, method = 'GET', body?: unknown): Promise<unknown> {
    const answer = await fetch(`${this.#address().also['web'] ?? ''}/${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    })
    const text = await answer.text()
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${text}`)
    return text.startsWith('{') || text.startsWith('[') ? JSON.parse(text) : text
  }

  close(): void {
    for (const client of this.clients.splice(0)) client.close()
  }
}

export function numbered(destination: string, count: number, keys = 5, from = 0): Outgoing[] {
  return Array.from({ length: count }, (_, n) =>
    outgoing({ destination, id: `m${from + n}`, key: `k${(from + n) % keys}`, body: Buffer.from('x') }),
  )
}

/** The numbers of ids such as `m12`, of one key of so many. */
export function ofKey(ids: readonly string[], key: number, keys: number): readonly number[] {
  return ids.map((id) => Number(id.slice(1))).filter((n) => n % keys === key)
}
