import { idempotency } from 'holdfast'
import { memoryIdempotencyStore } from 'holdfast/memory'
import { pulsarConsumer, pulsarPublisher, type OfficialPulsarClient, type PulsarConsumerOptions } from 'holdfast/pulsar'
import { describe, expect, it } from 'vitest'
import { pipeline } from '../../../src/core/pipeline.ts'
import { outgoing, type Outgoing } from '../../../src/core/publisher.ts'
import type {
  OfficialConsumer,
  OfficialMessage,
  OfficialOutgoing,
} from '../../../src/transports/pulsar/official/official-client.ts'
import { until } from '../rabbitmq/support.ts'

/** One topic behind a client of the official one's shape, which gives unacked messages again without a word. */
class Official implements OfficialPulsarClient {
  readonly sent: OfficialOutgoing[] = []
  readonly acked: string[] = []
  closed = 0
  received = 0
  subscribeError: Error | undefined
  sendError: (message: OfficialOutgoing) => Error | undefined = () => undefined
  isConnected = true
  #queue: OfficialMessage[] = []
  #unacked: OfficialMessage[] = []

  add(id: string, key: string, body = 'x'): void {
    const number = this.#queue.length + this.received
    this.#queue.push({
      getProperties: () => ({ 'message-id': id }),
      getData: () => Buffer.from(body),
      getMessageId: () => ({ toString: () => `(1,${number},-1,-1)` }),
      getPublishTimestamp: () => 1_000,
      getEventTimestamp: () => 0,
      getPartitionKey: () => key,
    })
  }

  /** The client lost its connection and has another: what was not acked comes again. */
  reconnect(): void {
    this.#queue = [...this.#unacked, ...this.#queue]
  }

  subscribe(): Promise<OfficialConsumer> {
    if (this.subscribeError !== undefined) return Promise.reject(this.subscribeError)
    return Promise.resolve({
      receive: async (timeoutMs = 0) => {
        const untilMs = performance.now() + timeoutMs
        while (this.#queue.length === 0) {
          if (performance.now() > untilMs || this.closed > 0) throw new Error('Failed to receive message: TimeOut')
          await new Promise((resolve) => setTimeout(resolve, 5))
        }
        const message = this.#queue.shift() as OfficialMessage
        this.received++
        this.#unacked.push(message)
        return message
      },
      acknowledge: (message) => {
        this.#unacked = this.#unacked.filter((each) => each !== message)
        this.acked.push(message.getProperties()['message-id'] ?? '')
        return Promise.resolve()
      },
      isConnected: () => this.isConnected,
      close: () => Promise.resolve(void this.closed++),
    })
  }

  createProducer() {
    return Promise.resolve({
      send: (message: OfficialOutgoing) => {
        const error = this.sendError(message)
        if (error !== undefined) return Promise.reject(error)
        return Promise.resolve(void this.sent.push(message))
      },
      close: () => Promise.resolve(void this.closed++),
    })
  }
}

function consume(
  client: Official,
  handler: Parameters<ReturnType<typeof pipeline>['handle']>[0],
  options: Partial<PulsarConsumerOptions> = {},
) {
  const stop = new AbortController()
  const consumer = pulsarConsumer({
    ...{ client, topics: ['orders'], subscription: 'billing', redeliverMs: 20, drainMs: 500 },
    pipeline: pipeline('orders').handle(handler),
    ...options,
  })
  const running = consumer.run(stop.signal)
  running.catch(() => {})
  return { consumer, running, end: (): Promise<void> => (stop.abort(), running) }
}

describe('the consumer through a client of the official shape', () => {
  it('handles each key in order, acks each message that is done, and closes', async () => {
    const client = new Official()
    for (let n = 0; n < 40; n++) client.add(`m${n}`, `k${n % 4}`)
    const seen: string[] = []
    const { end, consumer } = consume(client, ({ message, attempt }) => {
      if (message.id === 'm4' && attempt < 3) throw new Error('not yet')
      seen.push(message.id)
    })
    await until('all', () => client.acked.length === 40)
    expect(consumer.health().ready).toBe(true)
    await end()
    for (let key = 0; key < 4; key++) {
      const mine = seen.map((id) => Number(id.slice(1))).filter((n) => n % 4 === key)
      expect(mine).toEqual(mine.toSorted((a, b) => a - b))
    }
    expect(client.closed).toBe(1)
  })

  it('takes no more than its window, and acks nothing that is not done', async () => {
    const client = new Official()
    for (let n = 0; n < 100; n++) client.add(`m${n}`, `k${n}`)
    const { end } = consume(
      client,
      ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('stopped')))),
      { window: 10, concurrency: 4, drainMs: 50 },
    )
    await until('the window', () => client.received === 10)
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(client.received).toBe(10)
    await end()
    expect(client.acked).toEqual([])
  })

  it('handles what comes again after a lost connection behind its first copy, as a duplicate', async () => {
    const client = new Official()
    for (const id of ['m0', 'm1', 'm2']) client.add(id, 'k')
    const free = Promise.withResolvers<void>()
    const seen: string[] = []
    const orders = pipeline('orders')
      .use(idempotency({ store: memoryIdempotencyStore() }))
      .handle(async ({ message }) => {
        if (message.id === 'm0') await free.promise
        seen.push(message.id)
      })
    const { end } = consume(client, () => {}, { pipeline: orders })
    await until('all are here', () => client.received === 3)
    client.reconnect()
    await until('again', () => client.received === 6)
    free.resolve()
    await until('all are acked', () => client.acked.length === 6)
    await end()
    expect(seen).toEqual(['m0', 'm1', 'm2'])
  })

  it('is refused for good where it is not let in, and tries again where the broker is away', async () => {
    const client = new Official()
    client.subscribeError = new Error('Failed to create consumer: ConnectError')
    const { consumer, running } = consume(client, () => {})
    await until('it says so', () => JSON.stringify(consumer.health()).includes('ConnectError'))
    expect(consumer.health().ready).toBe(false)
    client.subscribeError = new Error('Failed to create consumer: AuthorizationError')
    await expect(running).rejects.toThrow(/orders cannot be subscribed: Failed to create consumer: AuthorizationError/)
  })

  it('is not ready while the client is not connected', async () => {
    const client = new Official()
    const { consumer, end } = consume(client, () => {})
    await until('ready', () => consumer.health().ready)
    client.isConnected = false
    expect(consumer.health().ready).toBe(false)
    await end()
  })
})

describe('the publisher through a client of the official shape', () => {
  const message = (id: string, parts: Partial<Outgoing> = {}): Outgoing =>
    outgoing({ destination: 'orders', id, key: 'k', body: Buffer.from(id), ...parts })

  it('hands messages over in their order, with id, type, key and headers', async () => {
    const client = new Official()
    const publisher = pulsarPublisher(client)
    await publisher.publish([message('a', { headers: { tenant: 'x' } }), message('b', { key: null })])
    await publisher.close()
    expect(client.sent.map(({ data }) => String(data))).toEqual(['a', 'b'])
    expect(client.sent[0]).toMatchObject({
      partitionKey: 'k',
      properties: { 'message-id': 'a', 'message-type': 'orders', tenant: 'x' },
    })
    expect(client.sent[1]).not.toHaveProperty('partitionKey')
    expect(client.closed).toBe(1)
  })

  it('names what is refused for good: a tombstone, and what the client says is too large', async () => {
    const client = new Official()
    client.sendError = ({ data }) => (data.length > 5 ? new Error('Failed to send message: MessageTooBig') : undefined)
    const messages = [message('a'), message('t', { body: null }), message('too large'), message('b')]
    await expect(pulsarPublisher(client).publish(messages)).rejects.toMatchObject({
      code: 'publish-failed',
      failures: [
        { index: 1, permanent: true },
        { index: 2, permanent: true },
      ],
    })
    expect(client.sent.map(({ data }) => String(data))).toEqual(['a', 'b'])
  })

  it('takes anything else for an outage', async () => {
    const client = new Official()
    client.sendError = () => new Error('Failed to send message: TimeOut')
    await expect(pulsarPublisher(client).publish([message('a')])).rejects.toMatchObject({ code: 'unavailable' })
  })
})
