import { createServer, type AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  amqpConsumer,
  amqpPublisher,
  queue,
  subscription,
  topic,
  type AmqpConsumerOptions,
  type AmqpSource,
} from 'holdfast/amqp'
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { Delivery } from '../../../src/core/delivery.ts'
import { PermanentError } from '../../../src/core/errors.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { outgoing, type Outgoing } from '../../../src/core/publisher.ts'
import { faultProxy } from '../../support/fault-proxy.ts'
import { artemisUrl, describeWith } from '../../support/services.ts'
import { testAmqp, until, type TestAmqp } from './support.ts'

describeWith(['artemis'], 'AMQP 1.0 on real Artemis', () => {
  let test: TestAmqp
  beforeEach(() => {
    test = testAmqp(artemisUrl())
  })
  afterEach(() => test.dispose())

  function member(
    from: string | readonly AmqpSource[],
    handler: (delivery: Delivery) => Promise<unknown> | void,
    options: Partial<AmqpConsumerOptions> = {},
  ) {
    const stop = new AbortController()
    const consumer = amqpConsumer({
      connection: test.connect(),
      sources: typeof from === 'string' ? [queue(from)] : from,
      pipeline: pipeline('orders').handle(handler),
      ...{ redeliverMs: 50, drainMs: 1_000 },
      ...options,
    })
    const running = consumer.run(stop.signal)
    running.catch(() => {})
    const end = (): Promise<void> => (stop.abort(), running)
    return { consumer, running, end }
  }

  const numbered = (destination: string, count: number, keys = 5, from = 0): Outgoing[] =>
    Array.from({ length: count }, (_, n) =>
      outgoing({
        ...{ destination, id: `m${from + n}`, key: `k${(from + n) % keys}`, body: Buffer.from(String(from + n)) },
      }),
    )

  const publish = (messages: readonly Outgoing[]): Promise<void> => amqpPublisher(test.connect()).publish(messages)

  it('A-1: what the broker is to put aside takes none of its neighbours along', async () => {
    const address = test.queue('dead')
    await publish(numbered(address, 40, 40))
    const done: string[] = []
    const free = Promise.withResolvers<void>()
    const { end } = member(
      address,
      async ({ message }) => {
        done.push(message.id)
        if (done.length === 40) free.resolve()
        // All of them end in one turn.
        await free.promise
        if (Number(message.id.slice(1)) % 2 === 1) throw new PermanentError('poison')
      },
      { reject: 'broker' },
    )
    const odd = Array.from({ length: 20 }, (_, n) => `m${2 * n + 1}`)
    await until('the dead letters', async () => {
      const dead = await test.arrived('DLA')
      return odd.every((id) => dead.some((message) => message.id === id && message.type === address))
    })
    await end()
    expect(
      (await test.arrived('DLA'))
        .filter(({ type }) => type === address)
        .map(({ id }) => id)
        .toSorted(),
    ).toEqual(odd.toSorted())
    expect(await test.arrived(address)).toEqual([])
  })

  it('A-1: rhea still merges two neighbours that are settled in one turn', async () => {
    const address = test.queue('dead')
    await test.send(address, [
      { message_id: 'a', body: 'x' },
      { message_id: 'b', body: 'x' },
    ])
    const connection = test.connect()
    const deliveries: { accept(): void; reject(): void }[] = []
    const receiver = connection.open_receiver({
      source: { address, capabilities: ['queue'] },
      autoaccept: false,
    })
    receiver.on('message', ({ delivery }: { readonly delivery: { accept(): void; reject(): void } }) =>
      deliveries.push(delivery),
    )
    await until('both', () => deliveries.length === 2)
    deliveries[0]?.accept()
    deliveries[1]?.reject()
    await sleep(200)
    connection.close()
    await sleep(100)
    // On the day on which `b` is in the dead-letter address, rhea is mended, and an outcome needs no turn of its own.
    const dead = await test.arrived('DLA')
    expect(dead.some(({ id, type }) => id === 'b' && type === address)).toBe(false)
    expect(await test.arrived(address)).toEqual([])
  })

  it('A-2: a message that is held lets as many pass as `ahead` says, and all once it is done', async () => {
    const address = test.queue()
    await publish(numbered(address, 100, 100))
    const free = Promise.withResolvers<void>()
    const done = new Set<string>()
    const { end } = member(
      address,
      async ({ message }) => {
        if (message.id === 'm0') await free.promise
        done.add(message.id)
      },
      { window: 8, ahead: 16 },
    )
    await until('those that may pass', () => done.size === 23)
    await sleep(200)
    expect(done.size).toBe(23)
    free.resolve()
    await until('all', () => done.size === 100)
    await end()
    expect(await test.arrived(address)).toEqual([])
  })

  it('A-5, A-10, A-12, A-15: refuses to begin on an address whose settings lose messages or their order', async () => {
    for (const [prefix, text] of [
      ['capped', /max-delivery-attempts 3 and no dead-letter-address/],
      ['full-drop', /address-full-policy DROP/],
      ['delayed', /redelivery-delay 700/],
      ['rebalanced', /default-group-rebalance without/],
    ] as const) {
      const { running } = member(test.queue(prefix), () => {})
      await expect(running).rejects.toThrow(text)
    }
    const unchecked = member(test.queue('capped'), () => {}, { checkAddresses: false })
    await until('it begins', () => unchecked.consumer.health().ready)
    await unchecked.end()
  })

  it('A-5, A-8, A-16: notes settings that are worth knowing', async () => {
    const addresses = [test.queue('dead'), test.queue('paused')]
    const { consumer, end } = member(addresses.map(queue), () => {}, {
      connection: test.connect(artemisUrl(), { idle_time_out: 0 }),
    })
    await until('it begins', () => consumer.health().ready)
    const notes = (consumer.health().details['notes'] as string[]).join('\n')
    await end()
    expect(notes).toMatch(/no idle_time_out/)
    expect(notes).toMatch(/max-delivery-attempts 3: .* goes to DLA/)
    expect(notes).toMatch(/default-group-rebalance: .* stops the whole queue/)
  })

  it('A-6: what is published while the connection is down, or answered while it is cut, arrives once it is back', async () => {
    const address = test.queue()
    const proxy = await faultProxy(artemisUrl())
    const publisher = amqpPublisher(test.connect(`amqp://${proxy.address}`), { duplicateIds: true })
    await publisher.publish(numbered(address, 5))
    proxy.dropReplies()
    const unanswered = publisher.publish(numbered(address, 5, 5, 5))
    await sleep(200)
    proxy.refuse()
    const down = publisher.publish(numbered(address, 5, 5, 10))
    await sleep(200)
    proxy.restore()
    await Promise.all([unanswered, down])
    expect((await test.arrived(address)).map(({ id }) => id)).toEqual(Array.from({ length: 15 }, (_, n) => `m${n}`))
    await proxy.dispose()
  })

  it('A-8: notices a broker that says nothing any more, and begins again on the next connection', async () => {
    const address = test.queue()
    const proxy = await faultProxy(artemisUrl())
    const seen: string[] = []
    const signals: AbortSignal[] = []
    const { consumer, end } = member(
      address,
      async ({ message, signal }) => {
        seen.push(message.id)
        signals.push(signal)
        if (seen.length === 1) await new Promise((resolve) => signal.addEventListener('abort', resolve))
      },
      { connection: test.connect(`amqp://${proxy.address}`, { idle_time_out: 300 }) },
    )
    await until('it begins', () => consumer.health().ready)
    await publish(numbered(address, 1))
    await until('the first', () => seen.length === 1)
    proxy.silence()
    await until('told to stop', () => signals[0]?.aborted === true)
    expect(consumer.health().ready).toBe(false)
    proxy.restore()
    await until('again', () => seen.length === 2)
    await end()
    expect(seen).toEqual(['m0', 'm0'])
    await proxy.dispose()
  })

  it('A-9: gives up at the start where nobody speaks AMQP, and says what to look at', async () => {
    const server = createServer((socket) => void socket.on('error', () => {}).end('HTTP/1.1 400 Bad Request\r\n\r\n'))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const { running } = member(test.queue(), () => {}, {
      connection: test.connect(`amqp://127.0.0.1:${port}`),
      connectWithinMs: 300,
    })
    await expect(running).rejects.toThrow(/no connection within 300 ms.*set a username/)
    server.close()
  })

  it('A-10: what goes to a queue stays until somebody reads it, what goes to a topic without a subscription is gone', async () => {
    const [kept, gone] = [test.queue(), test.queue()]
    await publish(numbered(kept, 1))
    await amqpPublisher(test.connect(), { target: topic }).publish(numbered(gone, 1))
    await test.subscribe(gone, 'later')
    const seen: string[] = []
    const both = member([queue(kept), subscription(gone, 'later')], ({ message }) => void seen.push(message.id))
    await until('the one', () => seen.length === 1)
    await sleep(100)
    await both.end()
    expect(seen).toEqual(['m0'])
  })

  it('A-11: an address that blocks is an outage after the time-out, and takes the rest once it was drained', async () => {
    const address = test.queue('full-block')
    const publisher = amqpPublisher(test.connect(), { timeoutMs: 1_000, duplicateIds: true })
    const large = Array.from({ length: 1_500 }, (_, n) =>
      outgoing({ destination: address, id: `m${n}`, key: `k${n % 20}`, body: Buffer.alloc(2_000) }),
    )
    await expect(publisher.publish(large)).rejects.toMatchObject({ code: 'unavailable' })
    const seen = new Set<string>()
    const { end } = member(address, ({ message }) => void seen.add(message.id))
    for (let tries = 0; tries < 20; tries++)
      if (
        await publisher.publish(large).then(
          () => true,
          () => false,
        )
      )
        break
    await until('all', () => seen.size === 1_500)
    await end()
  })

  it('tells of an address that is full at once, and lets no message pass an earlier one of its key', async () => {
    const address = test.queue('full-fail')
    const publisher = amqpPublisher(test.connect(), { timeoutMs: 20_000, duplicateIds: true })
    const large = Array.from({ length: 200 }, (_, n) =>
      outgoing({ destination: address, id: `m${n}`, key: `k${n % 10}`, body: Buffer.alloc(2_000) }),
    )
    await expect(publisher.publish(large)).rejects.toThrow(/resource-limit-exceeded/)
    const seen: string[] = []
    const { end } = member(address, ({ message }) => void seen.push(message.id))
    for (let tries = 0; tries < 200; tries++) {
      if (
        await publisher.publish(large).then(
          () => true,
          () => false,
        )
      )
        break
      await sleep(20)
    }
    await until('all', () => new Set(seen).size === 200)
    await end()
    for (let key = 0; key < 10; key++) {
      const mine = [...new Set(seen)].map((id) => Number(id.slice(1))).filter((n) => n % 10 === key)
      expect(mine).toEqual(mine.toSorted((a, b) => a - b))
    }
  })

  it('A-14: a member that joins gets none of the keys that are there, and all of a member that leaves, in order', async () => {
    const address = test.queue()
    const seen: { readonly id: string; readonly by: string }[] = []
    const handlerOf =
      (by: string) =>
      ({ message }: Delivery) =>
        void seen.push({ id: message.id, by })
    const first = member(address, handlerOf('first'))
    await until('it begins', () => first.consumer.health().ready)
    await publish(numbered(address, 50))
    await until('fifty', () => seen.length === 50)
    const second = member(address, handlerOf('second'))
    await until('it begins', () => second.consumer.health().ready)
    await publish(numbered(address, 50, 5, 50))
    await until('a hundred', () => seen.length === 100)
    expect(new Set(seen.map(({ by }) => by))).toEqual(new Set(['first']))
    await first.end()
    await publish(numbered(address, 50, 5, 100))
    await until('all', () => seen.length === 150)
    await second.end()
    expect(new Set(seen.slice(100).map(({ by }) => by))).toEqual(new Set(['second']))
    expect(seen.map(({ id }) => id)).toEqual(Array.from({ length: 150 }, (_, n) => `m${n}`))
  })

  it('A-17: accepts nothing that is not done', async () => {
    const address = test.queue()
    await publish(numbered(address, 5))
    const started: string[] = []
    const { end } = member(
      address,
      async ({ message, signal }) => {
        started.push(message.id)
        await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
      },
      { drainMs: 100 },
    )
    await until('all', () => started.length === 5)
    await end()
    expect((await test.arrived(address)).map(({ id }) => id)).toEqual(['m0', 'm1', 'm2', 'm3', 'm4'])
  })

  it('A-18: with duplicate ids an id is stored once, also one that is sent again on purpose', async () => {
    const address = test.queue()
    const once = amqpPublisher(test.connect(), { duplicateIds: true })
    await once.publish(numbered(address, 3))
    await once.publish(numbered(address, 3))
    expect(await test.arrived(address)).toHaveLength(3)
    // Which is why they are off unless asked for: a dead letter that is run again has its old id.
    await publish(numbered(address, 3))
    expect(await test.arrived(address)).toHaveLength(6)
  })

  it('A-19: a group may subscribe to several addresses, and each keeps what comes while no member is there', async () => {
    const [one, two] = [test.queue(), test.queue()]
    const sources = [subscription(one, 'billing'), subscription(two, 'billing')]
    const first = member(sources, () => {})
    await until('it begins', () => first.consumer.health().ready)
    await first.end()
    const publisher = amqpPublisher(test.connect(), { target: topic })
    await publisher.publish([...numbered(one, 2), ...numbered(two, 2)])
    const seen: string[] = []
    const handler = ({ message, origin }: Delivery) => void seen.push(`${origin.destination} ${message.id}`)
    const second = member(sources, handler)
    await until('four', () => seen.length === 4)
    await second.end()
    expect(seen.toSorted()).toEqual([one, two].flatMap((each) => [`${each} m0`, `${each} m1`]).toSorted())
  })

  it('says in one error that a queue does not exist, or that its user may not read it', async () => {
    const { running } = member('declared.missing', () => {}, { checkAddresses: false })
    await expect(running).rejects.toThrow(/amqp: declared\.missing does not exist: amqp:not-found/)
  })

  it('names a message to nowhere, and sends the others', async () => {
    const address = test.queue()
    const error: unknown = await publish([
      ...numbered(address, 1),
      { ...outgoing({ destination: 'declared.missing', id: 'lost', body: null }) },
      ...numbered(address, 1, 5, 1),
    ]).catch((caught: unknown) => caught)
    expect(error).toMatchObject({ code: 'publish-failed', failures: [{ index: 1, permanent: true }] })
    expect((await test.arrived(address)).map(({ id }) => id)).toEqual(['m0', 'm1'])
  })

  it('holds every key in order and loses nothing while connections are cut again and again', async () => {
    const address = test.queue()
    const proxy = await faultProxy(artemisUrl())
    const seen: string[] = []
    const handler = async ({ message }: Delivery): Promise<void> => {
      await sleep(1)
      seen.push(message.id)
    }
    const through = `amqp://${proxy.address}`
    const one = member(address, handler, { connection: test.connect(through), concurrency: 8 })
    const publisher = amqpPublisher(test.connect(through), { duplicateIds: true })
    let isOver = false
    const cutting = (async () => {
      while (!isOver) {
        await sleep(40 + Math.random() * 160)
        proxy.cut()
      }
    })()
    for (let from = 0; from < 500; from += 50) await publisher.publish(numbered(address, 50, 10, from))
    isOver = true
    await cutting
    await until('all', () => new Set(seen).size === 500)
    await one.end()
    for (let key = 0; key < 10; key++) {
      const firsts = [...new Set(seen)].map((id) => Number(id.slice(1))).filter((n) => n % 10 === key)
      expect(firsts).toEqual(firsts.toSorted((a, b) => a - b))
    }
    await proxy.dispose()
  })
})
