import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { isPublishError, type PublishError } from '../../../src/core/errors.ts'
import { headersFrom } from '../../../src/core/message.ts'
import { outgoing, type Outgoing } from '../../../src/core/publisher.ts'
import {
  byKey,
  queueOfKey,
  rabbitmqPublisher,
  type RabbitmqPublisherOptions,
} from '../../../src/transports/rabbitmq/index.ts'
import { faultProxy } from '../../support/fault-proxy.ts'
import { describeWith, rabbitmqUrl, uniqueName } from '../../support/services.ts'
import { testRabbitmq, type TestRabbitmq } from './support.ts'

describeWith(['rabbitmq'], 'rabbitmqPublisher', () => {
  let test: TestRabbitmq
  beforeEach(async () => {
    test = await testRabbitmq(rabbitmqUrl())
  })
  afterEach(() => test.dispose())

  function numbered(destination: string, count: number): Outgoing[] {
    return Array.from({ length: count }, (_, n) =>
      outgoing({ destination, id: `m${n}`, key: 'k', body: Buffer.from(String(n)) }),
    )
  }

  async function refusal(messages: readonly Outgoing[], options: RabbitmqPublisherOptions = {}): Promise<PublishError> {
    const publisher = rabbitmqPublisher(await test.connect(), options)
    const error: unknown = await publisher.publish(messages).catch((caught: unknown) => caught)
    if (!isPublishError(error)) throw new Error(`not a PublishError: ${String(error)}`)
    return error
  }

  it('R-12 finds the messages to an exchange that is not there, and sends the others in order', async () => {
    const queue = await test.queue()
    const isLost = (id: string): boolean => id === 'm7' || id === 'm30'
    const messages = numbered(queue, 40)
    const { failures } = await refusal(messages, {
      route: ({ id }) => ({ exchange: isLost(id) ? 'no-such-exchange' : '', routingKey: queue }),
    })
    expect(failures.map(({ index, permanent }) => [index, permanent])).toEqual([
      [7, true],
      [30, true],
    ])
    const first = [...new Set((await test.arrived(queue)).map(({ id }) => id))]
    expect(first).toEqual(messages.map(({ id }) => id).filter((id) => !isLost(id)))
  })

  it('R-13 refuses what no queue takes, and says where it was to go', async () => {
    const exchange = uniqueName('exchange')
    await test.channel.assertExchange(exchange, 'direct')
    test.onDispose(() => test.channel.deleteExchange(exchange))
    const error = await refusal(numbered('any', 2), { route: () => ({ exchange, routingKey: 'nobody' }) })
    expect(error.failures).toHaveLength(2)
    expect(error.message).toContain("'nobody': NO_ROUTE")
  })

  it('R-15 refuses what AMQP cannot carry, by its place in the list, and sends the others', async () => {
    const queue = await test.queue()
    const long = 'i'.repeat(400)
    const messages = [
      outgoing({ destination: queue, id: 'm0', body: null }),
      outgoing({ destination: queue, id: 'm1', body: null, headers: headersFrom([['large', 'x'.repeat(70_000)]]) }),
      outgoing({ destination: queue, id: 'm2', body: null, headers: headersFrom([['n'.repeat(300), 'x']]) }),
      outgoing({ destination: queue, id: long, body: null }),
    ]
    const { failures } = await refusal(messages)
    expect(failures.map(({ index, permanent }) => [index, permanent])).toEqual([
      [1, true],
      [2, true],
    ])
    expect((await test.arrived(queue)).map(({ id }) => id)).toEqual(['m0', long])
  })

  it('R-21 names what a full queue nacked as not permanent', async () => {
    const queue = await test.queue({ 'x-queue-type': 'classic', 'x-max-length': 3, 'x-overflow': 'reject-publish' })
    const { failures } = await refusal(numbered(queue, 20))
    expect(failures.length).toBeGreaterThan(0)
    expect(failures.every(({ permanent }) => !permanent)).toBe(true)
    const named = new Set(failures.map(({ index }) => `m${index}`))
    for (const { id } of await test.arrived(queue)) expect(named).not.toContain(id)
  })

  it('takes a connection that is cut before the answer for an outage, of a single message too', async () => {
    const queue = await test.queue()
    const proxy = await faultProxy(rabbitmqUrl())
    test.onDispose(() => proxy.dispose())
    const publisher = rabbitmqPublisher(await test.connect(rabbitmqUrl().replace(/@.*/, `@${proxy.address}`)))
    const [first, second] = [numbered(queue, 1), numbered(queue, 2).slice(1)]
    await publisher.publish(first)
    proxy.dropReplies()
    const published = publisher.publish(second)
    published.catch(() => {})
    await sleep(100)
    proxy.restore()
    proxy.cut()
    await expect(published).rejects.toMatchObject({ code: 'unavailable' })
    await publisher.publish(second)
    expect([...new Set((await test.arrived(queue)).map(({ id }) => id))]).toEqual(['m0', 'm1'])
  })

  it('keeps calls at once apart: a message with the same id and place is refused in each', async () => {
    const publisher = rabbitmqPublisher(await test.connect())
    const same = outgoing({ destination: 'nowhere', id: 'same', body: null })
    const answers = await Promise.allSettled(Array.from({ length: 20 }, () => publisher.publish([same])))
    expect(answers.filter(({ status }) => status === 'rejected')).toHaveLength(20)
  })

  it('sends a key to one queue of its exchange, and messages without a key to all', () => {
    const route = byKey(4)
    const to = (key: string | null) => route(outgoing({ destination: 'orders', key, body: null }))
    expect(to('a')).toEqual({ exchange: 'orders', routingKey: String(queueOfKey('a', 4)) })
    expect(to('a')).toEqual(to('a'))
    expect(new Set([to(null), to(null), to(null), to(null)].map(({ routingKey }) => routingKey)).size).toBe(4)
  })

  it('refuses to publish once it was closed, and options that it does not know', async () => {
    const connection = await test.connect()
    const publisher = rabbitmqPublisher(connection)
    await publisher.publish(numbered(await test.queue(), 1))
    await publisher.close()
    await expect(publisher.publish(numbered('any', 1))).rejects.toThrow('the publisher was closed')
    expect(() => rabbitmqPublisher(connection, { rout: byKey(2) } as object)).toThrow("Did you mean 'route'?")
  })
})
