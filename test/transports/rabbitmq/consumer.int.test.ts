import amqp from 'amqplib'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { headersFrom, type Bytes } from '../../../src/core/message.ts'
import type { Delivery } from '../../../src/core/delivery.ts'
import { json } from '../../../src/codecs/json.ts'
import { RetryLater } from '../../../src/core/errors.ts'
import { deadLetter } from '../../../src/dead-letter/dead-letter.ts'
import { pipeline, type Pipeline } from '../../../src/core/pipeline.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import { timeout } from '../../../src/retry/timeout.ts'
import {
  declareQueues,
  queueArguments,
  rabbitmqConsumer,
  rabbitmqPublisher,
  type RabbitmqConsumerOptions,
} from '../../../src/transports/rabbitmq/index.ts'
import { faultProxy } from '../../support/fault-proxy.ts'
import { describeWith, rabbitmqUrl, uniqueName } from '../../support/services.ts'
import { testRabbitmq, until, type TestRabbitmq } from './support.ts'

describeWith(['rabbitmq'], 'rabbitmqConsumer', () => {
  let test: TestRabbitmq
  let stops: (() => Promise<void>)[] = []

  beforeEach(async () => {
    test = await testRabbitmq(rabbitmqUrl())
    stops = []
  })
  afterEach(async () => {
    for (const stop of stops) await stop()
    await test.dispose()
  })

  const ordered = (more: Readonly<Record<string, unknown>> = {}) => test.queue({ ...queueArguments(), ...more })

  function seen(): { readonly got: Delivery<Bytes>[]; readonly pipeline: Pipeline } {
    const got: Delivery<Bytes>[] = []
    return { got, pipeline: pipeline('seen').handle((delivery) => void got.push(delivery)) }
  }

  async function start(
    options: Omit<RabbitmqConsumerOptions, 'connection'> & { connection?: RabbitmqConsumerOptions['connection'] },
  ) {
    const stopping = new AbortController()
    const consumer = rabbitmqConsumer({ connection: await test.connect(), drainMs: 2000, ...options })
    const ended = consumer.run(stopping.signal)
    ended.catch(() => {})
    const stop = async () => {
      stopping.abort()
      await ended.catch(() => {})
    }
    stops.push(stop)
    return { consumer, ended, stop }
  }

  async function publish(queue: string, count: number, keys = 1): Promise<void> {
    const messages = Array.from({ length: count }, (_, n) =>
      outgoing({ destination: queue, id: `m${n}`, key: `k${n % keys}`, body: Buffer.from(String(n)) }),
    )
    await rabbitmqPublisher(await test.connect()).publish(messages)
  }

  async function left(queue: string): Promise<number> {
    return (await test.channel.checkQueue(queue)).messageCount
  }

  it('takes a message for the first until somebody was given it, or the broker dead-lettered it on its way', async () => {
    const [letters, queue] = [await test.queue(), await test.queue()]
    const rejecting = await test.queue({ 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': letters })
    await publish(queue, 2)
    await publish(rejecting, 1)
    const taken = await test.direct.createChannel()
    expect(await taken.get(queue)).toMatchObject({ fields: { redelivered: false } })
    await taken.close()
    const rejected = await test.channel.get(rejecting)
    if (rejected !== false) test.channel.reject(rejected, false)
    await until('it was dead-lettered', async () => (await left(letters)) === 1)
    const { got, pipeline } = seen()
    await start({ queues: [queue, letters], order: 'none', pipeline })
    await until('all are handled', () => got.length === 3)
    const firsts = got.map(
      ({ message, origin, first }) => `${origin.partition === queue ? 'q' : 'l'} ${message.id} ${first}`,
    )
    expect(firsts.toSorted()).toEqual(['l m0 false', 'q m0 false', 'q m1 true'])
  })

  it('starts messages of the queues with priority first, and none of the others starves', async () => {
    const [orders, reports] = [await ordered(), await ordered()]
    await publish(reports, 60, 60)
    await publish(orders, 60, 60)
    const started: string[] = []
    const handled = pipeline('p').handle(async ({ origin }) => {
      started.push(origin.partition === orders ? 'orders' : 'reports')
      await sleep(3)
    })
    const common = { queues: [reports, orders], pipeline: handled, concurrency: 1 }
    await start({ ...common, priority: { queues: [orders], floor: 0.2 } })
    await until('all are handled', () => started.length === 120)
    const between = started.slice(20, 60)
    expect(between.filter((queue) => queue === 'orders').length).toBeGreaterThan(25)
    expect(between).toContain('reports')
    await expect(start({ ...common, priority: { queues: ['others'] } })).rejects.toThrow(
      `rabbitmqConsumer: priority: queues[0] must be one of its queues: ${reports}, ${orders}, got 'others'`,
    )
    await expect(start({ ...common, priority: { queues: [] } })).rejects.toThrow(
      'queues must be a list of at least one',
    )
    await expect(start({ ...common, priority: { queues: [orders], floor: 0.6 } })).rejects.toThrow(
      'floor must be above 0 and at most 0.5, got 0.6',
    )
  })

  it('R-1 hands a queue on with every ack in, so that nothing comes again and nothing out of order', async () => {
    const queue = await ordered()
    await publish(queue, 400, 7)
    const ids: string[] = []
    for (let round = 0; ids.length < 400; round++) {
      const before = ids.length
      const handled = pipeline('handed on').handle(({ message }) => void ids.push(message.id))
      const { stop } = await start({ queues: [queue], pipeline: handled, prefetch: 64 })
      await until('some are handled', () => ids.length >= Math.min(before + 60, 400))
      await stop()
    }
    expect(ids).toHaveLength(400)
    expect(new Set(ids).size).toBe(400)
    for (let key = 0; key < 7; key++) {
      const mine = ids.map((id) => Number(id.slice(1))).filter((n) => n % 7 === key)
      expect(mine).toEqual(mine.toSorted((a, b) => a - b))
    }
  })

  it('R-1 has every ack in before it leaves, however many come at its end', async () => {
    const queue = await ordered()
    await publish(queue, 800, 800)
    const ids: string[] = []
    for (let round = 1; round <= 4; round++) {
      const gate = Promise.withResolvers<undefined>()
      const gated = pipeline('gated').handle(async ({ message }) => {
        ids.push(message.id)
        await gate.promise
      })
      const { stop } = await start({ queues: [queue], pipeline: gated, prefetch: 400, concurrency: 200 })
      await until('200 run', () => ids.length === 200 * round)
      const stopped = stop()
      // All of their acks leave in one moment, right before the channel closes.
      gate.resolve(undefined)
      await stopped
    }
    expect(new Set(ids).size).toBe(800)
    expect(await left(queue)).toBe(0)
  })

  it('R-3 keeps messages through many deaths of their consumer', async () => {
    const queue = await ordered()
    await publish(queue, 10)
    for (let death = 0; death < 24; death++) {
      const connection = await amqp.connect(rabbitmqUrl())
      connection.on('error', () => {})
      const channel = await connection.createChannel()
      await channel.prefetch(10)
      const arrived = Promise.withResolvers<unknown>()
      await channel.consume(queue, (message) => arrived.resolve(message))
      await arrived.promise
      await connection.close()
    }
    const { got, pipeline } = seen()
    await start({ queues: [queue], pipeline })
    await until('all ten', () => got.length === 10)
  })

  it.each([
    ['without a single active consumer', { ...queueArguments('none') }, 'has x-single-active-consumer: none'],
    ['R-4 with a delivery limit of -1', { ...queueArguments(), 'x-delivery-limit': -1 }, 'has x-delivery-limit: -1'],
    ['with a small delivery limit', { ...queueArguments(), 'x-delivery-limit': 5 }, 'has x-delivery-limit: 5'],
    ['of the classic kind', { 'x-queue-type': 'classic' }, 'has x-'],
  ])('refuses a queue %s, and says which argument differs', async (_, settings, text) => {
    const queue = uniqueName('queue')
    await test.channel.assertQueue(queue, { arguments: settings })
    test.onDispose(() => test.channel.deleteQueue(queue))
    const { ended } = await start({ queues: [queue], pipeline: seen().pipeline })
    await expect(ended).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining(`${queue} ${text}`) as string,
    })
  })

  it('takes what else a queue was declared with as it is', async () => {
    const queue = await ordered({ 'x-max-length': 100_000, 'x-overflow': 'reject-publish' })
    await publish(queue, 3)
    const { got, pipeline } = seen()
    await start({ queues: [queue], pipeline })
    await until('all three', () => got.length === 3)
  })

  it('refuses a queue that is missing, with one clear error', async () => {
    const { ended } = await start({ queues: ['not-there'], pipeline: seen().pipeline })
    await expect(ended).rejects.toThrow('RabbitMQ has no queue not-there; declare it with declareQueues()')
  })

  it('R-10 refuses a time-out that is longer than the broker waits for an ack', async () => {
    const queue = await ordered()
    const slow = pipeline('slow')
      .use(timeout({ afterMs: 3_600_000 }))
      .handle(() => {})
    const { ended } = await start({ queues: [queue], pipeline: slow, drainMs: 3_600_000 })
    await expect(ended).rejects.toMatchObject({
      code: 'bad-option',
      message: expect.stringContaining('below the consumer timeout') as string,
    })
  })

  it('says that a plain connection was closed and does not come back', async () => {
    const queue = await ordered()
    const connection = await amqp.connect(rabbitmqUrl())
    const { ended, consumer } = await start({ connection, queues: [queue], pipeline: seen().pipeline })
    await until('it consumes', () => consumer.health().ready)
    await connection.close()
    await expect(ended).rejects.toThrow(
      'It does not come back by itself: make it with connect(url, { recovery: true })',
    )
  })

  it('says at start that the credentials are wrong', async () => {
    const url = rabbitmqUrl().replace(/\/\/.*@/, '//guest:wrong@')
    const connection = await amqp.connect(url, { recovery: { waitForConnect: false, initialMaxRetries: 0 } })
    connection.on('error', () => {})
    const { ended } = await start({ connection, queues: ['any'], pipeline: seen().pipeline })
    await expect(ended).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('ACCESS_REFUSED') as string,
    })
  })

  it('waits, not ready, for a broker that is away at start, and begins once it is there', async () => {
    const queue = await ordered()
    await publish(queue, 3)
    const proxy = await faultProxy(rabbitmqUrl())
    test.onDispose(() => proxy.dispose())
    proxy.refuse()
    const through = rabbitmqUrl().replace(/@.*/, `@${proxy.address}`)
    const connection = await amqp.connect(through, {
      recovery: { waitForConnect: false, initialDelay: 50, maxDelay: 100 },
    })
    connection.on('error', () => {})
    test.onDispose(() => connection.close())
    const { got, pipeline } = seen()
    const { consumer } = await start({ connection, queues: [queue], pipeline })
    await sleep(300)
    expect(consumer.health().ready).toBe(false)
    proxy.restore()
    await until('all three', () => got.length === 3)
    expect(consumer.health().ready).toBe(true)
  })

  it('R-7 acks nothing of a channel that is gone: what ran then comes again, in its place', async () => {
    const queue = await ordered()
    await publish(queue, 3)
    const proxy = await faultProxy(rabbitmqUrl())
    test.onDispose(() => proxy.dispose())
    const connection = await test.connect(rabbitmqUrl().replace(/@.*/, `@${proxy.address}`))
    const runs: string[] = []
    const first = Promise.withResolvers<undefined>()
    const slow = pipeline('slow').handle(async ({ message }) => {
      runs.push(message.id)
      if (runs.length === 1) await first.promise
    })
    await start({ connection, queues: [queue], pipeline: slow })
    await until('it runs', () => runs.length === 1)
    proxy.cut()
    await sleep(500)
    // The same key never runs twice at once, in this process either.
    expect(runs).toEqual(['m0'])
    first.resolve(undefined)
    await until('all', () => runs.length === 4)
    expect(runs).toEqual(['m0', 'm0', 'm1', 'm2'])
    await until('all acked', async () => (await left(queue)) === 0)
  })

  it('tells what runs that its channel is gone, while the broker is away and before it consumes again', async () => {
    const queue = await ordered()
    await publish(queue, 1)
    const proxy = await faultProxy(rabbitmqUrl())
    test.onDispose(() => proxy.dispose())
    const connection = await test.connect(rabbitmqUrl().replace(/@.*/, `@${proxy.address}`))
    const running = Promise.withResolvers<AbortSignal>()
    const waiting = pipeline('waiting').handle(({ signal }) => {
      running.resolve(signal)
      return new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
    })
    const { consumer } = await start({ connection, queues: [queue], pipeline: waiting })
    const signal = await running.promise
    proxy.refuse()
    await until('its signal aborts', () => signal.aborted)
    expect(JSON.stringify(consumer.health().details['reasons'])).toContain(`the channel of queue ${queue} was closed`)
    proxy.restore()
    await until('the message is acked', async () => (await left(queue)) === 0)
  })

  it('R-9 shares the queues out among the members', async () => {
    const exchange = uniqueName('shared')
    const queues = await declareQueues(test.direct, { exchange, group: 'g', queues: 4 })
    test.onDispose(async () => {
      for (const queue of [...queues, `${exchange}.members`]) await test.channel.deleteQueue(queue)
      await test.channel.deleteExchange(exchange)
    })
    const by = [new Set<string>(), new Set<string>()]
    for (const mine of by) {
      const noted = pipeline('noted').handle(({ origin }) => void mine.add(origin.partition ?? ''))
      await start({ queues, group: exchange, pipeline: noted, shareEveryMs: 100 })
    }
    const publisher = rabbitmqPublisher(await test.connect())
    await until('both have a share', async () => {
      for (const mine of by) mine.clear()
      await publisher.publish(queues.map((destination) => outgoing({ destination, body: null })))
      await sleep(300)
      return by.every((mine) => mine.size === 2)
    })
  })

  it('R-20 is not ready while its queue is deleted, and goes on once it is there again', async () => {
    const queue = await ordered()
    const { got, pipeline } = seen()
    const { consumer } = await start({ queues: [queue], pipeline })
    await until('it consumes', () => consumer.health().ready)
    await test.channel.deleteQueue(queue)
    await until('it says so', () => !consumer.health().ready)
    expect(JSON.stringify(consumer.health().details['reasons'])).toContain(queue)
    await test.channel.assertQueue(queue, { arguments: queueArguments() })
    await publish(queue, 1)
    await until('the message', () => got.length === 1)
    await until('it is ready', () => consumer.health().ready)
  })

  it('R-18 reads whatever other producers send: no headers, numbers, tables, dates, no id, no body', async () => {
    const queue = await ordered()
    const headers = {
      number: 3,
      yes: true,
      table: { a: [1] },
      list: ['a', 'b'],
      when: { '!': 'timestamp', value: 5 },
      none: null,
    }
    const channel = await test.direct.createConfirmChannel()
    channel.sendToQueue(queue, Buffer.alloc(0), { headers, messageId: 'theirs', type: 'placed', timestamp: 12 })
    channel.sendToQueue(queue, Buffer.from([0xff, 0xfe]))
    channel.sendToQueue(queue, Buffer.alloc(1_000_000, 1), { messageId: 'large' })
    await channel.waitForConfirms()
    const { got, pipeline } = seen()
    const { consumer } = await start({ queues: [queue], pipeline })
    await until('all three', () => got.length === 3)
    const [first, second, third] = [...got].sort((a, b) => a.bytes!.length - b.bytes!.length)
    expect(first?.message).toMatchObject({ id: 'theirs', type: 'placed', timeMs: 12_000, key: null })
    expect({ ...first?.message.headers }).toEqual({
      ...{ number: '3', yes: 'true', table: '{"a":[1]}', list: ['a', 'b'], when: '5', none: 'null' },
    })
    expect(second?.message.id).toMatch(/^anonymous\//)
    expect(third?.bytes?.length).toBe(1_000_000)
    // nothing is silent about a message that nobody can know again.
    expect(JSON.stringify(consumer.health().details['notes'])).toContain('messages without an id')
  })

  it('R-24 keeps the id that it gave to a message without one, over its attempts', async () => {
    const queue = await ordered()
    const channel = await test.direct.createConfirmChannel()
    channel.sendToQueue(queue, Buffer.from('x'))
    await channel.waitForConfirms()
    const ids: string[] = []
    const failing = pipeline('failing').handle(({ message }) => {
      ids.push(message.id)
      if (ids.length < 3) throw new RetryLater(10)
    })
    await start({ queues: [queue], pipeline: failing })
    await until('three attempts', () => ids.length === 3)
    expect(new Set(ids).size).toBe(1)
  })

  it('nacks a message whose id function throws, and handles it under its own id later', async () => {
    const queue = await ordered()
    const channel = await test.direct.createConfirmChannel()
    channel.sendToQueue(queue, Buffer.from('x'), { messageId: 'm' })
    await channel.waitForConfirms()
    const ids: string[] = []
    let tries = 0
    await start({
      queues: [queue],
      redeliverMs: 20,
      pipeline: pipeline('named').handle(({ message }) => void ids.push(message.id)),
      id: ({ properties }) => {
        if (tries++ === 0) throw new Error('the registry is away')
        return String(properties.messageId)
      },
    })
    await until('the message', () => ids.length > 0)
    expect(ids).toEqual(['m'])
    expect(tries).toBe(2)
  })

  it('puts bodies that cannot be decoded into the dead-letter queue, bytes and hostile headers untouched', async () => {
    const [queue, dead] = [await ordered(), await test.queue()]
    const publisher = rabbitmqPublisher(await test.connect())
    const headers = headersFrom([
      ['__proto__', 'hostile'],
      ['constructor', 'x'],
      ['holdfast%a', 'y'],
    ])
    const bad = outgoing({ destination: queue, id: 'bad', key: 'k', headers, body: Buffer.from([0xff, 0x00]) })
    await publisher.publish([bad, outgoing({ destination: queue, id: 'good', key: 'k', body: Buffer.from('{}') })])
    const got: string[] = []
    const decoding = pipeline('decoding')
      .use(deadLetter({ to: publisher, destination: dead }))
      .decode(json({ '~standard': { version: 1, validate: (value) => ({ value }) } }))
      .handle(({ message }) => void got.push(message.id))
    await start({ queues: [queue], pipeline: decoding })
    await until('the good one', () => got.length === 1)
    const [letter] = await test.arrived(dead)
    expect([...(letter?.body ?? [])]).toEqual([0xff, 0])
    for (const [name, value] of Object.entries(headers)) expect(letter?.headers[name]).toBe(value)
    await until('both acked', async () => (await left(queue)) === 0)
  })

  it('takes a queue without a single active consumer where no order is wanted, and finishes what runs', async () => {
    const queue = await test.queue(queueArguments('none'))
    await publish(queue, 50, 50)
    const ids: string[] = []
    const slow = pipeline('slow').handle(async ({ message }) => {
      await sleep(5)
      ids.push(message.id)
    })
    const members = [
      await start({ queues: [queue], pipeline: slow, order: 'none', prefetch: 8 }),
      await start({ queues: [queue], pipeline: slow, order: 'none', prefetch: 8 }),
    ]
    await until('some', () => ids.length > 20)
    await members[0]?.stop()
    await until('all', () => new Set(ids).size === 50)
    expect(ids).toHaveLength(50)
  })

  it('refuses options that it does not know, and bad ones', async () => {
    const connection = await test.connect()
    const { pipeline } = seen()
    const make = (more: object) => () => rabbitmqConsumer({ connection, queues: ['q'], pipeline, ...more })
    expect(make({ prefetsch: 3 })).toThrow("unknown option 'prefetsch'. Did you mean 'prefetch'?")
    expect(make({ prefetch: 0 })).toThrow('prefetch must be an integer of at least 1, got 0')
    expect(make({ queues: [] })).toThrow('queues must be a list of at least one queue')
  })
})
