import { setTimeout as sleep } from 'node:timers/promises'
import { amqpConsumer, amqpPublisher, queue, type AmqpConsumerOptions } from 'holdfast/amqp'
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { Delivery } from '../../../src/core/delivery.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { outgoing, type Outgoing } from '../../../src/core/publisher.ts'
import { artemisUrl, describeWith } from '../../support/services.ts'
import { testAmqp, until, type TestAmqp } from './support.ts'

describeWith(['artemis'], 'what is not done yet, on real Artemis', () => {
  let test: TestAmqp
  beforeEach(() => {
    test = testAmqp(artemisUrl())
  })
  afterEach(() => test.dispose())

  const numbered = (destination: string, count: number, keys: number): Outgoing[] =>
    Array.from({ length: count }, (_, n) =>
      outgoing({ destination, id: `m${n}`, key: `k${n % keys}`, body: Buffer.from('x') }),
    )

  function member(
    address: string,
    handler: (delivery: Delivery) => Promise<unknown> | void,
    options: Partial<AmqpConsumerOptions> = {},
  ) {
    const stop = new AbortController()
    const consumer = amqpConsumer({
      ...{ connection: test.connect(), sources: [queue(address)], pipeline: pipeline('orders').handle(handler) },
      ...{ redeliverMs: 50, drainMs: 200 },
      ...options,
    })
    const running = consumer.run(stop.signal)
    running.catch(() => {})
    return { consumer, end: (): Promise<void> => (stop.abort(), running) }
  }

  it('A-3: no more than the window is in memory, however much waits', async () => {
    const address = test.queue()
    await amqpPublisher(test.connect()).publish(numbered(address, 400, 40))
    const { consumer, end } = member(
      address,
      ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('stopped')))),
      { window: 50, concurrency: 10 },
    )
    const buffered = (): number => Number(consumer.health().details['buffered'])
    await until('the window', () => buffered() === 50)
    await sleep(200)
    expect(buffered()).toBe(50)
    await end()
    expect(await test.arrived(address)).toHaveLength(400)
  })

  it("A-3: rhea's own window is refilled as messages arrive, whether or not anybody is done with them", async () => {
    const address = test.queue()
    await amqpPublisher(test.connect()).publish(numbered(address, 400, 40))
    const connection = test.connect()
    let count = 0
    const source = { address, capabilities: ['queue'] }
    const receiver = connection.open_receiver({ source, credit_window: 50, autoaccept: false })
    receiver.on('message', () => void count++)
    // On the day on which it stops at 50, its window may be used instead of a credit of our own.
    await until('more than the window', () => count > 50)
    connection.close()
  })

  it('A-12: a message that fails is not given back: its key waits here, and the broker counts no delivery', async () => {
    const address = test.queue()
    await amqpPublisher(test.connect()).publish(numbered(address, 10, 2))
    const seen: string[] = []
    const counts = new Set<unknown>()
    const { end } = member(address, ({ message, attempt, raw }) => {
      seen.push(message.id)
      counts.add((raw as { readonly message: { readonly delivery_count?: number } }).message.delivery_count ?? 0)
      if (message.id === 'm0' && attempt < 4) throw new Error('not yet')
    })
    await until('all', () => new Set(seen).size === 10 && seen.includes('m8'))
    await end()
    const ofKey = (key: number): string[] => seen.filter((id) => Number(id.slice(1)) % 2 === key)
    expect(ofKey(0)).toEqual(['m0', 'm0', 'm0', 'm0', 'm2', 'm4', 'm6', 'm8'])
    expect(ofKey(1)).toEqual(['m1', 'm3', 'm5', 'm7', 'm9'])
    expect([...counts]).toEqual([0])
  })

  it('rhea does not notice a socket that this process destroys: tests cut connections on the way', async () => {
    const connection = test.connect()
    await until('open', () => connection.is_open())
    let lost = 0
    connection.on('disconnected', () => void lost++)
    ;(connection as unknown as { readonly socket: { destroy(): void } }).socket.destroy()
    await sleep(200)
    expect(lost).toBe(0)
  })
})
