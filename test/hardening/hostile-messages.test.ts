import { encodeCloudEvents } from '../../src/codecs/cloudevents.ts'
import { describe, expect, it } from 'vitest'
import { hostileHeaders as hostile } from '../support/hostile-headers.ts'
import { z } from 'zod'
import {
  json,
  on,
  outgoing,
  PermanentError,
  publisher,
  resilient,
  RetryLater,
  route,
  type Bytes,
  type Delivery,
  type Headers,
  type Outgoing,
  type Publisher,
} from '../../src/index.ts'
import { readDeadLetter } from '../../src/dead-letter/index.ts'
import { memoryBroker, memoryConsumer, memoryIdempotencyStore } from '../../src/transports/memory/index.ts'
import { deliveryFrom, recordFrom } from '../../src/transports/kafkajs/codec.ts'
import { deadLetter } from '../../src/dead-letter/dead-letter.ts'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { keyFromDigest } from '../../src/idempotency/key.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { retry } from '../../src/retry/retry.ts'
import { neverAborts } from '../../src/core/signals.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { watch, watchUnhandled } from '../support/watch.ts'

const Order = z.object({ cents: z.number() }).nullable()
const bytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))

/** The recommended stack on the memory broker, with every dead letter kept. */
function service(handler: (delivery: Delivery<z.infer<typeof Order>>) => Promise<void> | void) {
  const broker = memoryBroker({ partitions: 1 })
  const letters: Outgoing[] = []
  const deadLetters: Publisher & { down: boolean } = {
    down: false,
    async publish(messages) {
      if (this.down) throw new Error('the dead letter is down')
      letters.push(...messages)
    },
  }
  const orders = resilient('orders', {
    codec: json(Order, { maxBytes: 100_000 }),
    deadLetters,
    store: memoryIdempotencyStore(),
    log: false,
    maxAttempts: 2,
  }).handle(handler)
  const consumer = memoryConsumer({ broker, groupId: 'billing', topics: ['orders'], pipeline: orders, redeliverMs: 5 })
  async function run(until: () => boolean): Promise<void> {
    const stop = new AbortController()
    const running = consumer.run(stop.signal)
    const deadline = Date.now() + 20_000
    while (!until() && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5))
    stop.abort()
    await running
  }
  return { broker, letters, deadLetters, run, send: broker.publisher(), lag: () => broker.lag('billing', 'orders') }
}

describe('X: hostile messages, through every stage', () => {
  it.each(hostile)('%s: the message is handled, and its headers are data', async (_, headers) => {
    const seen: Headers[] = []
    const { send, run, lag, letters } = service(({ message }) => void seen.push(message.headers))
    await send.publish([outgoing({ destination: 'orders', id: 'm1', body: bytes({ cents: 1 }), headers })])
    await run(() => lag() === 0)
    expect(letters).toEqual([])
    expect(seen).toHaveLength(1)
    expect(seen[0] && Object.getPrototypeOf(seen[0])).toBeNull()
    expect(Object.entries(seen[0] ?? {})).toEqual(Object.entries(headers))
    expect(({} as { p?: unknown }).p).toBeUndefined()
  })

  it.each(hostile)('%s: the message is dead-lettered with all of it, where it has to be', async (_, headers) => {
    const { send, run, lag, letters } = service(() => {
      throw new PermanentError('no')
    })
    const body = bytes({ cents: 1 })
    await send.publish([outgoing({ destination: 'orders', id: 'm1', body, headers })])
    await run(() => lag() === 0)
    expect(letters).toHaveLength(1)
    const read = letters[0] && readDeadLetter(letters[0])
    expect(read?.metadata.reason).toBe('permanent')
    expect(Buffer.from(read?.message.body ?? []).equals(body)).toBe(true)
    const theirs = (all: object) => Object.entries(all).filter(([name]) => !name.startsWith('holdfast-dead-'))
    expect(theirs(read?.message.headers ?? {})).toEqual(theirs(headers))
  })

  it.each([
    ['no JSON', Buffer.from('{"cents":')],
    ['no UTF-8', Buffer.from([0x22, 0xff, 0x22])],
    ['oversized', bytes({ cents: 1, note: 'x'.repeat(200_000) })],
    ['nested 5,000 deep', Buffer.from('['.repeat(5000) + ']'.repeat(5000))],
    ['another shape', bytes({ cents: 'five', __proto__: null })],
    ['nothing at all', Buffer.alloc(0)],
  ])('a body that is %s ends in the dead letter byte for byte, and is not run', async (_, body) => {
    let runs = 0
    const { send, run, lag, letters } = service(() => void runs++)
    await send.publish([outgoing({ destination: 'orders', id: 'm1', body })])
    await run(() => lag() === 0)
    expect(runs).toBe(0)
    expect(letters).toHaveLength(1)
    expect(Buffer.from(letters[0]?.body ?? []).equals(body)).toBe(true)
    expect(letters[0] && readDeadLetter(letters[0])?.metadata).toMatchObject({ reason: 'undecodable', attempts: 0 })
  })

  it('B-7: while the dead letter is down nothing is lost, and nothing runs again once it is back', async () => {
    const runs: string[] = []
    const { send, run, lag, letters, deadLetters } = service(({ message }) => {
      runs.push(message.id)
      if (message.id.startsWith('poison')) throw new PermanentError('no')
    })
    deadLetters.down = true
    const failed = watch('dead-letter-failed')
    const ids = ['poison-1', 'm1', 'poison-2', 'm2', 'm3']
    await send.publish([
      outgoing({ destination: 'orders', id: 'bytes', body: Buffer.from([0xff]) }),
      ...ids.map((id) => outgoing({ destination: 'orders', id, key: id, body: bytes({ cents: 1 }) })),
    ])
    await run(() => {
      if (failed.length >= 2) deadLetters.down = false
      return lag() === 0
    })
    expect(letters.map(({ id }) => id).toSorted()).toEqual(['bytes', 'poison-1', 'poison-2'])
    expect(runs.toSorted()).toEqual(ids.toSorted())
  })

  it('a tombstone passes every stage, and reaches the handler as null', async () => {
    const unhandled = watchUnhandled()
    const seen: unknown[] = []
    const clock = fakeClock()
    const letters: Outgoing[] = []
    const step = pipeline('orders')
      .use(deadLetter({ to: { publish: async (messages) => void letters.push(...messages) } }))
      .decode(json(Order))
      .use(idempotency({ store: memoryIdempotencyStore(), key: keyFromDigest, fingerprint: true }))
      .use(retry({ clock }))
      .handle(({ message, bytes: raw }) => {
        seen.push(message.body, raw)
        if (message.key === 'poison') throw new PermanentError('no')
      })
    expect(await step.dispatch({ message: { id: 'm1', body: null } })).toBe('handled')
    expect(seen).toEqual([null, null])
    const other = pipeline('refusing')
      .use(deadLetter({ to: { publish: async (messages) => void letters.push(...messages) } }))
      .decode(json(z.object({ cents: z.number() })))
      .handle(() => {})
    expect(await other.dispatch({ message: { id: 'm2', body: null } })).toBe('dead-lettered')
    expect(letters.map(({ body }) => body)).toEqual([null])
    expect(unhandled).toEqual([])
  })

  it.each(['__proto__', 'constructor', 'toString', '', 'x'.repeat(100_000), '\ud800'])(
    'a type that no table names is undecodable, whatever it is called: %.12j',
    async (type) => {
      const step = pipeline('orders').handle(route<Delivery<Bytes>>({ 'order.placed': on(json(Order), () => {}) }))
      const error: unknown = await step.dispatch({ message: { id: 'm1', type, body: bytes({ cents: 1 }) } }).then(
        () => undefined,
        (thrown: unknown) => thrown,
      )
      expect(error).toMatchObject({ code: 'permanent' })
      expect(error instanceof Error && error.message.length).toBeLessThan(200)
    },
  )
})

describe('X: hostile records on their way in and out', () => {
  const read = (headers: Record<string, Buffer>, key: Buffer | null = null) =>
    deliveryFrom(
      {
        topic: 't',
        partition: 0,
        message: { key, value: null, timestamp: '5', attributes: 0, offset: '7', headers },
      },
      { pipeline: 'p', group: 'g', attempt: 1, signal: neverAborts, id: undefined },
    ).message

  it('an id that is no text or is empty falls back to where the message stands', () => {
    expect(read({ 'message-id': Buffer.from([0xff]) }).id).toBe('t/0/7@5')
    expect(read({ 'message-id': Buffer.alloc(0) }).id).toBe('t/0/7@5')
  })

  it.each(['9999999999999999', '-1', '1e400', 'yesterday', '\0'])(
    'a time that is none, %j, does not stop its event from being passed on',
    async (time) => {
      const { timeMs } = read({ 'message-time': Buffer.from(time) })
      expect(Number.isFinite(timeMs)).toBe(true)
      const sent: Outgoing[] = []
      const wire: Publisher = { publish: async (messages) => void sent.push(...messages) }
      await publisher(wire)
        .use(encodeCloudEvents(json(Order), { source: '/orders' }))
        .publish([outgoing({ destination: 'out', body: { cents: 1 }, timeMs })])
      expect(sent).toHaveLength(1)
      expect(recordFrom(sent[0] ?? expect.fail('nothing sent')).value).not.toBeNull()
    },
  )

  it('keys that are no text go out as the bytes that they were', () => {
    for (const key of [Buffer.from([0xff, 0]), Buffer.from('base64:AA=='), Buffer.from('\ufeffk'), Buffer.alloc(0)])
      expect(recordFrom(read({}, key)).key).toEqual(key)
  })

  it('RetryLater keeps to times that can be waited for, whatever it is given', () => {
    expect(new RetryLater(-1).afterMs).toBe(0)
    // What is no number would come back at once, again and again.
    for (const ms of [NaN, Infinity, -Infinity, '5s', undefined])
      expect(new RetryLater(ms as number).afterMs).toBe(1000)
  })
})
