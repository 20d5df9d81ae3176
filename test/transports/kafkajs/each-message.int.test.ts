import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { AbandonedError, RetryLater } from '../../../src/core/errors.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { eachBatch, eachMessage } from '../../../src/transports/kafkajs/index.ts'
import { describeWith, uniqueName } from '../../support/services.ts'
import { numbers, testKafka, until, type TestKafka } from './support.ts'

describeWith(['kafka'], 'the plain forms on real Kafka', () => {
  let test: TestKafka
  beforeAll(async () => {
    test = await testKafka()
  })
  afterAll(() => test.dispose())

  const setUp = async (partitions = 1) => ({ topic: await test.topic(partitions), groupId: uniqueName('group') })
  const text = (body: Uint8Array | null) => (body === null ? null : Buffer.from(body).toString())

  it('one changed line: every message reaches the handler once, and is committed', async () => {
    const { topic, groupId } = await setUp(2)
    await test.send(topic, numbers(50))
    const seen: (string | null)[] = []
    const orders = pipeline('orders').handle(({ message }) => void seen.push(text(message.body)))
    const consumer = await test.consumer(topic, groupId)
    await consumer.run({ eachMessage: eachMessage(orders) })
    await until('50 messages handled', () => seen.length === 50)
    await consumer.stop()
    expect(new Set(seen).size).toBe(50)
    expect((await test.committed(groupId, topic, 0)) + (await test.committed(groupId, topic, 1))).toBe(50)
  })

  it('hands over tombstones, missing keys, Buffer headers and hostile header names', async () => {
    const { topic, groupId } = await setUp()
    const hostile = JSON.parse('{"__proto__":"p","constructor":"c"}') as Record<string, string>
    await test.send(topic, [
      { key: 'k', value: null },
      { key: null, value: 'no key', headers: { many: ['a', Buffer.from('b')], raw: Buffer.from([0xff]) } },
      { key: 'h', value: 'hostile', headers: hostile },
      { key: 'h', value: 'big', headers: { baggage: 'x'.repeat(65_536) } },
    ])
    const seen: { key: string | null; body: string | null; headers: Readonly<Record<string, unknown>> }[] = []
    const orders = pipeline('orders').handle(({ message }) => {
      seen.push({ key: message.key, body: text(message.body), headers: message.headers })
    })
    const consumer = await test.consumer(topic, groupId)
    await consumer.run({ eachMessage: eachMessage(orders) })
    await until('all handled', () => seen.length === 4)
    await consumer.stop()
    expect(seen.map(({ key, body }) => [key, body])).toEqual([
      ['k', null],
      [null, 'no key'],
      ['h', 'hostile'],
      ['h', 'big'],
    ])
    expect(seen[1]?.headers['many']).toEqual(['a', 'b'])
    expect(seen[1]?.headers['raw']).toEqual(Buffer.from([0xff]))
    expect(seen[2]?.headers['__proto__']).toBe('p')
    expect(seen[2]?.headers['constructor']).toBe('c')
  })

  it('K-5: a handler that fails holds its partition here; kafkajs neither crashes nor joins again', async () => {
    const { topic, groupId } = await setUp()
    await test.send(topic, numbers(3, 'k'))
    const calls: string[] = []
    let healthy = false
    const orders = pipeline('orders').handle(({ message, attempt }) => {
      calls.push(`${message.id}/${attempt}`)
      if (message.id === 'm1' && !healthy) throw new Error('down')
    })
    const consumer = await test.consumer(topic, groupId, { sessionTimeout: 3000, heartbeatInterval: 300 })
    let joins = 0
    let crashes = 0
    consumer.on(consumer.events.GROUP_JOIN, () => void joins++)
    consumer.on(consumer.events.CRASH, () => void crashes++)
    await consumer.run({ eachMessage: eachMessage(orders, { redeliverMs: 700, heartbeatMs: 300 }) })
    // Longer than the session: only the beats keep the membership.
    await until('the third attempt', () => calls.includes('m1/3'))
    expect(await test.committed(groupId, topic)).toBeLessThanOrEqual(1)
    await sleep(700)
    healthy = true
    await until('the message behind it', () => calls.includes('m2/1'))
    await consumer.stop()
    expect({ joins, crashes }).toEqual({ joins: 1, crashes: 0 })
    expect(calls.filter((call) => call.startsWith('m0'))).toEqual(['m0/1'])
    expect(await test.committed(groupId, topic)).toBe(3)
  })

  it('waits as long as RetryLater says, which is no attempt', async () => {
    const { topic, groupId } = await setUp()
    await test.send(topic, numbers(1))
    const calls: { attempt: number; at: number }[] = []
    const orders = pipeline('orders').handle(({ attempt }) => {
      calls.push({ attempt, at: Date.now() })
      if (calls.length < 3) throw new RetryLater(300, { holds: 'pipeline' })
    })
    const consumer = await test.consumer(topic, groupId)
    await consumer.run({ eachMessage: eachMessage(orders, { redeliverMs: 60_000 }) })
    await until('the third call', () => calls.length === 3)
    await consumer.stop()
    expect(calls.map(({ attempt }) => attempt)).toEqual([1, 1, 1])
  })

  it('B-10: holds the partition while a handler that was given up still runs, and is not ready', async () => {
    const { topic, groupId } = await setUp()
    await test.send(topic, numbers(1))
    const late = Promise.withResolvers<void>()
    let calls = 0
    const orders = pipeline('orders').handle(() => {
      if (++calls === 1) throw new AbandonedError('deaf', late.promise)
    })
    const consumer = await test.consumer(topic, groupId)
    const handler = eachMessage(orders, { consumer })
    await consumer.run({ eachMessage: handler })
    await until('not ready', () => !handler.health().ready)
    await sleep(300)
    expect(calls).toBe(1)
    late.resolve()
    await until('handled again', () => calls === 2)
    await until('ready', () => handler.health().ready)
    await consumer.stop()
  })

  it.each(['with', 'without'])(
    'a shutdown during a long wait ends it, runs nothing again and commits nothing, %s the consumer named',
    async (named) => {
      const { topic, groupId } = await setUp()
      await test.send(topic, numbers(2, 'k'))
      const shutdown = new AbortController()
      const calls: string[] = []
      const orders = pipeline('orders').handle(({ message }) => {
        calls.push(message.id)
        if (message.id === 'm1') throw new RetryLater(600_000)
      })
      const consumer = await test.consumer(topic, groupId)
      const restarts: boolean[] = []
      consumer.on(consumer.events.CRASH, ({ payload }) => void restarts.push(payload.restart))
      const form = eachMessage(orders, { signal: shutdown.signal, ...(named === 'with' ? { consumer } : {}) })
      await consumer.run({ eachMessage: form })
      await until('the wait', () => calls.length === 2)
      shutdown.abort(new Error('SIGTERM'))
      await consumer.disconnect()
      await sleep(500)
      expect(calls).toEqual(['m0', 'm1'])
      expect(restarts.filter(Boolean)).toEqual([])
      if (named === 'with') expect(restarts).toEqual([])
      expect(await test.committed(groupId, topic)).toBe(1)
      const next = await test.consumer(topic, groupId)
      const again: string[] = []
      await next.run({
        eachMessage: eachMessage(pipeline('orders').handle(({ message }) => void again.push(message.id))),
      })
      await until('redelivered', () => again.length === 1)
      expect(again).toEqual(['m1'])
      await next.stop()
    },
  )

  it('a shutdown while the handler runs aborts its signal, and commits nothing where that stopped it', async () => {
    const { topic, groupId } = await setUp()
    await test.send(topic, numbers(1))
    const shutdown = new AbortController()
    const running = Promise.withResolvers<void>()
    const orders = pipeline('orders').handle(async ({ signal }) => {
      running.resolve()
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
      throw new Error('stopped by its signal')
    })
    const consumer = await test.consumer(topic, groupId)
    await consumer.run({ eachMessage: eachMessage(orders, { signal: shutdown.signal, consumer }) })
    await running.promise
    shutdown.abort(new Error('SIGTERM'))
    await consumer.disconnect()
    expect(await test.committed(groupId, topic)).toBe(-1)
  })

  it('a rebalance during a long handler aborts its signal and acks nothing', async () => {
    const { topic, groupId } = await setUp()
    await test.send(topic, numbers(1))
    const options = { sessionTimeout: 6000, heartbeatInterval: 200 }
    let aborted: unknown
    let calls = 0
    const orders = pipeline('orders').handle(async ({ signal }) => {
      if (++calls > 1) return
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
      aborted = signal.reason
      throw new Error('stopped by its signal')
    })
    const first = await test.consumer(topic, groupId, options)
    await first.run({ eachMessage: eachMessage(orders, { heartbeatMs: 200 }) })
    await until('the handler', () => calls === 1)
    const second = await test.consumer(topic, groupId, options)
    await second.run({ eachMessage: eachMessage(orders, { heartbeatMs: 200 }) })
    await until('the handler again', () => calls === 2)
    expect(aborted).toMatchObject({ type: 'REBALANCE_IN_PROGRESS' })
    await Promise.all([first.stop(), second.stop()])
    expect(await test.committed(groupId, topic)).toBe(1)
  })

  it.each([true, false])(
    'eachBatch runs keys side by side, each in order, and resolves nothing past a nack (eachBatchAutoResolve: %s)',
    async (eachBatchAutoResolve) => {
      const { topic, groupId } = await setUp()
      const messages = Array.from({ length: 40 }, (_, n) => ({ key: `key-${n % 4}`, value: String(n) }))
      await test.send(topic, messages)
      const order = new Map<string, number[]>()
      let stuck = true
      let running = 0
      let most = 0
      const orders = pipeline('orders').handle(async ({ message }) => {
        const n = Number(text(message.body))
        if (n === 5 && stuck) throw new Error('stuck')
        most = Math.max(most, ++running)
        await sleep(5)
        running--
        const key = message.key ?? ''
        order.set(key, [...(order.get(key) ?? []), n])
      })
      const count = () => [...order.values()].flat().length
      const consumer = await test.consumer(topic, groupId)
      const form = eachBatch(orders, { concurrency: 4, redeliverMs: 100, heartbeatMs: 100 })
      await consumer.run({ eachBatch: form, eachBatchAutoResolve })
      await until('all but the stuck key', () => count() === 31)
      await consumer.stop()
      expect(await test.committed(groupId, topic)).toBe(5)
      stuck = false
      order.clear()
      const next = await test.consumer(topic, groupId)
      await next.run({ eachBatch: form, eachBatchAutoResolve })
      await until('the rest', () => count() === 35)
      await next.stop()
      expect(await test.committed(groupId, topic)).toBe(40)
      expect(most).toBeGreaterThan(1)
      for (const seen of order.values()) expect(seen).toEqual(seen.toSorted((a, b) => a - b))
    },
  )

  it('eachBatch ends its waits on shutdown, and commits only what was acked without a gap', async () => {
    const { topic, groupId } = await setUp()
    await test.send(topic, numbers(10))
    const shutdown = new AbortController()
    const calls: string[] = []
    const orders = pipeline('orders').handle(({ message }) => {
      calls.push(message.id)
      if (message.id === 'm4') throw new RetryLater(600_000)
    })
    const consumer = await test.consumer(topic, groupId)
    const restarts: boolean[] = []
    consumer.on(consumer.events.CRASH, ({ payload }) => void restarts.push(payload.restart))
    await consumer.run({ eachBatch: eachBatch(orders, { signal: shutdown.signal, consumer }) })
    await until('all were tried', () => calls.length === 10)
    shutdown.abort(new Error('SIGTERM'))
    await consumer.disconnect()
    expect(restarts).toEqual([])
    expect(calls).toHaveLength(10)
    expect(await test.committed(groupId, topic)).toBe(4)
  })

  it('eachBatch lets go of a batch when the consumer is told to go elsewhere', async () => {
    const { topic, groupId } = await setUp()
    await test.send(topic, numbers(10))
    let stuck = true
    const calls: string[] = []
    const orders = pipeline('orders').handle(({ message }) => {
      calls.push(message.id)
      if (message.id === 'm2' && stuck) throw new RetryLater(600_000)
    })
    const consumer = await test.consumer(topic, groupId)
    await consumer.run({ eachBatch: eachBatch(orders, { heartbeatMs: 100 }) })
    await until('all were tried', () => calls.length === 10)
    stuck = false
    calls.length = 0
    consumer.seek({ topic, partition: 0, offset: '5' })
    await until('from there', () => calls.length === 5)
    await consumer.stop()
    expect(calls.toSorted()).toEqual(['m5', 'm6', 'm7', 'm8', 'm9'])
    expect(await test.committed(groupId, topic)).toBe(10)
  })
})
