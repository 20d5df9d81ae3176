import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Delivery, Outcome, Step } from '../delivery.ts'
import { AbandonedError, isPermanent, PermanentError, RetryLater } from '../errors.ts'
import { headersFrom, type Bytes, type Message } from '../message.ts'
import { pipeline } from '../pipeline.ts'
import type { Outgoing, OutgoingParts, Publisher } from '../publisher.ts'
import type {
  TestConsumer,
  TestConsumerOptions,
  TestTransport,
  TransportFeatures,
  TransportUnderTest,
} from './transport-under-test.ts'

export interface Bench extends TestTransport {
  readonly topic: string
  readonly groupId: string
  readonly publish: (...messages: readonly Omit<OutgoingParts<Bytes>, 'destination'>[]) => Promise<void>
  /** Starts a consumer; it is stopped when the test is over. */
  readonly start: (handler: Handler, options?: Partial<TestConsumerOptions>) => Running
}

export interface Running {
  readonly consumer: TestConsumer
  /** Stops it in good order. */
  stop(): Promise<void>
}

type Handler = (delivery: Delivery<Bytes>) => Promise<unknown> | void

export interface TransportCase {
  readonly name: string
  readonly needs?: (features: TransportFeatures) => boolean
  readonly partitions?: number
  readonly body: (bench: Bench, under: TransportUnderTest) => Promise<void>
}

async function until(what: string, isTrue: () => boolean, withinMs = 30_000): Promise<void> {
  const deadline = performance.now() + withinMs
  while (!isTrue()) {
    assert.ok(performance.now() < deadline, `not within ${withinMs} ms: ${what}`)
    await sleep(5)
  }
}

const numbered = (count: number, keys: number): Omit<Outgoing, 'destination'>[] =>
  Array.from({ length: count }, (_, n) => ({
    id: `m${n}`,
    type: 'numbered',
    key: `k${n % keys}`,
    headers: headersFrom([]),
    body: Buffer.from(String(n)),
    timeMs: n,
  }))

const numberIn = (message: Message<Bytes>): number => Number(Buffer.from(message.body ?? []).toString())

/** Notes what is handled, and fails where a key is handled out of order or twice at once. */
function ledger(): { readonly handle: Handler; readonly ids: Set<string>; readonly faults: string[]; most: number } {
  const last = new Map<string, number>()
  const busy = new Set<string>()
  const self = { handle, ids: new Set<string>(), faults: [] as string[], most: 0 }
  async function handle({ message }: Delivery<Bytes>): Promise<void> {
    const key = message.key ?? ''
    const n = numberIn(message)
    if (busy.has(key)) self.faults.push(`${key} ran twice at once at ${n}`)
    busy.add(key)
    self.most = Math.max(self.most, busy.size)
    await sleep(n % 4)
    busy.delete(key)
    // What comes again is a duplicate; what is new must be the next.
    if (!self.ids.has(message.id) && n < (last.get(key) ?? -1))
      self.faults.push(`${key} took ${n} after ${last.get(key)}`)
    last.set(key, Math.max(n, last.get(key) ?? -1))
    self.ids.add(message.id)
  }
  return self
}

const cases: readonly TransportCase[] = [
  {
    name: 'delivers every message, and none again once it was acked',
    async body({ publish, start }) {
      const seen: string[] = []
      const first = start(({ message }) => void seen.push(message.id))
      await publish(...numbered(100, 7))
      await until('100 messages', () => new Set(seen).size === 100)
      await first.stop()
      const again: string[] = []
      start(({ message }) => void again.push(message.id))
      await publish({ id: 'last', body: null })
      await until('the message published since', () => again.includes('last'))
      assert.deepEqual(again, ['last'])
    },
  },
  {
    name: 'carries id, key, type, time, headers and bytes untouched, and tombstones and missing keys as such',
    async body({ publish, start, topic }) {
      const headers = headersFrom([
        ['text', 'ü'],
        ['bytes', new Uint8Array([0xff, 0])],
        ['many', ['a', 'b']],
        ['__proto__', 'plain'],
        ['constructor', 'plain'],
        ['baggage', 'x'.repeat(65_536)],
      ])
      const sent = [
        { id: 'full', key: 'k', type: 'placed', timeMs: 1234, headers, body: new Uint8Array([0, 0xff, 1]) },
        { id: 'tombstone', key: 'k', body: null },
        { id: 'empty key', key: '', body: new Uint8Array([1]) },
        { id: 'no key', body: new Uint8Array([2]) },
      ]
      const got = new Map<string, Delivery<Bytes>>()
      start((delivery) => void got.set(delivery.message.id, delivery))
      await publish(...sent)
      await until('four messages', () => got.size === 4)
      const full = got.get('full')
      assert.equal(full?.message.type, 'placed')
      assert.equal(full.message.timeMs, 1234)
      assert.equal(full.origin.destination, topic)
      assert.deepEqual([...(full.bytes ?? [])], [0, 0xff, 1])
      for (const [name, value] of Object.entries(headers))
        assert.deepEqual(plain(full.message.headers[name]), plain(value), `the header ${name}`)
      assert.deepEqual(
        sent.map(({ id }) => got.get(id)?.message.key),
        ['k', 'k', '', null],
      )
      assert.equal(got.get('tombstone')?.message.body, null)
      assert.equal(got.get('tombstone')?.bytes, null)
    },
  },
  {
    name: 'brings a nacked message again as the next attempt',
    async body({ publish, start }) {
      const attempts: number[] = []
      start(({ attempt }) => {
        attempts.push(attempt)
        if (attempts.length < 3) throw new Error('not yet')
      })
      await publish({ id: 'm', key: 'k', body: null })
      await until('three attempts', () => attempts.length === 3)
      assert.deepEqual(attempts, [1, 2, 3])
    },
  },
  {
    name: 'takes RetryLater for no attempt, and keeps its wait',
    needs: ({ delay }) => delay,
    async body({ publish, start }) {
      const calls: { readonly attempt: number; readonly atMs: number }[] = []
      start(({ attempt }) => {
        calls.push({ attempt, atMs: performance.now() })
        if (calls.length === 1) throw new RetryLater(300)
      })
      await publish({ id: 'm', key: 'k', body: null })
      await until('two calls', () => calls.length === 2)
      assert.deepEqual(
        calls.map(({ attempt }) => attempt),
        [1, 1],
      )
      const [first, second] = calls
      // Timers may fire within the millisecond before.
      assert.ok((second?.atMs ?? 0) - (first?.atMs ?? 0) >= 295)
    },
  },
  {
    name: 'keeps each key in order, one at a time, and runs keys side by side',
    needs: ({ order }) => order === 'key',
    async body({ publish, start }) {
      const book = ledger()
      start(book.handle)
      await publish(...numbered(600, 20))
      await until('600 messages', () => book.ids.size === 600)
      assert.deepEqual(book.faults, [])
      assert.ok(book.most > 1)
    },
  },
  {
    name: 'holds only the key of a message that fails, and goes on with it once it succeeds',
    needs: ({ order }) => order === 'key',
    async body({ publish, start }) {
      const seen: string[] = []
      let healthy = false
      start(({ message }) => {
        if (message.id === 'm0' && !healthy) throw new Error('stuck')
        seen.push(message.id)
      })
      await publish(...numbered(50, 5))
      await until('the other keys', () => seen.length === 40)
      assert.ok(!seen.includes('m5'))
      healthy = true
      await until('the rest', () => seen.length === 50)
      assert.ok(seen.indexOf('m0') < seen.indexOf('m5'))
    },
  },
  {
    name: 'lets everything wait while a message holds the pipeline, and sends one probe first',
    needs: ({ order }) => order === 'key',
    async body({ publish, start }) {
      let down = true
      let calls = 0
      const seen = new Set<string>()
      start(
        ({ message }) => {
          calls++
          if (down) throw new RetryLater(100, { holds: 'pipeline' })
          seen.add(message.id)
        },
        { concurrency: 4 },
      )
      await publish(...numbered(40, 40))
      await sleep(1000)
      // At most the places of the start, then one probe for each wait.
      assert.ok(calls > 1 && calls <= 4 + 10, `${calls} calls`)
      down = false
      await until('all', () => seen.size === 40)
    },
  },
  {
    name: 'gives what a crashed consumer did not finish to the next one',
    async body({ publish, start }) {
      const first = start(() => new Promise(() => {}))
      await publish(...numbered(10, 10))
      await until('it holds some', () => first.consumer.health().details['buffered'] !== 0)
      await first.consumer.crash()
      const seen = new Set<string>()
      start(({ message }) => void seen.add(message.id))
      await until('all ten', () => seen.size === 10)
    },
  },
  {
    name: 'puts a poison message aside with its bytes untouched, and goes on with its key',
    async body({ publish, start, createTopic, publisher, groupId }) {
      const deadLetters = await createTopic(1)
      const seen: string[] = []
      const poisonous = pipeline('poison')
        .use(asideTo(publisher, deadLetters))
        .handle(({ message }) => {
          if (message.id === 'm1') throw new PermanentError('poison')
          seen.push(message.id)
        })
      start(() => {}, { pipeline: poisonous })
      await publish(...numbered(3, 1))
      await until('those around it', () => seen.length === 2)
      assert.deepEqual(seen, ['m0', 'm2'])
      const aside: Message<Bytes>[] = []
      start(({ message }) => void aside.push(message), { topics: [deadLetters], groupId: `${groupId}-aside` })
      await until('the dead letter', () => aside.length > 0)
      assert.equal(aside[0]?.id, 'm1')
      assert.equal(Buffer.from(aside[0].body ?? []).toString(), '1')
    },
  },
  {
    name: 'takes no more into memory than it says, however much waits',
    async body({ publish, start }, { maxBuffered }) {
      const free = Promise.withResolvers<void>()
      const seen = new Set<string>()
      const { consumer } = start(async ({ message }) => {
        await free.promise
        seen.add(message.id)
      })
      const count = maxBuffered * 2 + 1000
      for (let from = 0; from < count; from += 1000)
        await publish(...numbered(Math.min(from + 1000, count), 500).slice(from))
      let most = 0
      for (let look = 0; look < 20; look++) {
        most = Math.max(most, Number(consumer.health().details['buffered']))
        await sleep(50)
      }
      assert.ok(most > 0 && most <= maxBuffered, `${most} in memory, of at most ${maxBuffered}`)
      free.resolve()
      await until('all', () => seen.size === count, 60_000)
    },
  },
  {
    name: 'stops within its deadline although a handler hangs, and brings that message again',
    async body({ publish, start }) {
      const seen: string[] = []
      let signal: AbortSignal | undefined
      const first = start(
        (delivery) => {
          if (delivery.message.id === 'hangs') {
            signal = delivery.signal
            return new Promise(() => {})
          }
          seen.push(delivery.message.id)
        },
        { drainMs: 300 },
      )
      await publish({ id: 'hangs', key: 'a', body: null }, { id: 'goes on', key: 'b', body: null })
      await until('both', () => signal !== undefined && seen.length === 1)
      await first.stop()
      assert.ok(signal?.aborted)
      const again: string[] = []
      start(({ message }) => void again.push(message.id))
      await until('it comes again', () => again.includes('hangs'))
    },
  },
  {
    name: 'finishes and acks what runs when it is told to stop',
    async body({ publish, start }) {
      const running = Promise.withResolvers<void>()
      const first = start(async () => {
        running.resolve()
        await sleep(300)
      })
      await publish({ id: 'long', key: 'a', body: null })
      await running.promise
      await first.stop()
      const again: string[] = []
      start(({ message }) => void again.push(message.id))
      await publish({ id: 'next', key: 'a', body: null })
      await until('the next', () => again.includes('next'))
      assert.deepEqual(again, ['next'])
    },
  },
  {
    name: 'holds the key of a handler that was given up, is not ready, and goes on with the others',
    needs: ({ order }) => order === 'key',
    async body({ publish, start }) {
      const late = Promise.withResolvers<void>()
      const seen: string[] = []
      const { consumer } = start(({ message }) => {
        seen.push(message.id)
        if (message.id === 'm0' && seen.filter((id) => id === 'm0').length === 1)
          throw new AbandonedError('deaf to its signal', late.promise)
      })
      await publish(...numbered(20, 2))
      await until('the other key', () => seen.length === 11)
      assert.equal(consumer.health().ready, false)
      assert.equal(consumer.health().details['abandoned'], 1)
      late.resolve()
      await until('its key', () => seen.length === 21)
      await until('ready', () => consumer.health().ready)
    },
  },
  {
    name: 'loses nothing and keeps every key in order while members join and leave under load',
    needs: ({ partitions, order }) => partitions && order === 'key',
    partitions: 6,
    async body({ publish, start }) {
      const book = ledger()
      const messages = numbered(1500, 30)
      const members = [start(book.handle)]
      const publishing = (async () => {
        for (let from = 0; from < messages.length; from += 50) {
          await publish(...messages.slice(from, from + 50))
          await sleep(20)
        }
      })()
      await until('a few', () => book.ids.size > 50)
      members.push(start(book.handle))
      await until('some more', () => book.ids.size > 300)
      members.push(start(book.handle))
      await until('half', () => book.ids.size > 600)
      await members[0]?.stop()
      await publishing
      await until('all', () => book.ids.size === messages.length)
      assert.deepEqual(book.faults, [])
    },
  },
  {
    name: 'gives every group all messages',
    needs: ({ groups }) => groups,
    async body({ publish, start, groupId }) {
      const seen = [new Set<string>(), new Set<string>()]
      seen.forEach((ids, at) => start(({ message }) => void ids.add(message.id), { groupId: `${groupId}-${at}` }))
      await publish(...numbered(20, 4))
      await until('both', () => seen.every((ids) => ids.size === 20))
    },
  },
]

function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value]
  return Array.isArray(value) ? value.map(plain) : value
}

/** The least dead letter: the message as it came, confirmed before the ack. */
function asideTo(publisher: Publisher, destination: string) {
  return <D extends Delivery<Bytes>>(next: Step<D>): Step<D> =>
    async function aside(delivery): Promise<Outcome> {
      try {
        return await next(delivery)
      } catch (error) {
        if (!isPermanent(error)) throw error
        await publisher.publish([{ ...delivery.message, destination }])
        return 'dead-lettered'
      }
    }
}

export function transportCases(): readonly TransportCase[] {
  return cases
}
