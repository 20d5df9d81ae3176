import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Delivery } from '../../core/delivery.ts'
import { RetryLater } from '../../core/errors.ts'
import { headersFrom, type Bytes } from '../../core/message.ts'
import { ledger, numbered, until, type TransportCase } from './transport-bench.ts'

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
    name: 'has every ack in when it stops, however many end in its last moment',
    async body({ publish, start }) {
      const gate = Promise.withResolvers<undefined>()
      const seen: string[] = []
      const first = start(
        async ({ message }) => {
          seen.push(message.id)
          await gate.promise
        },
        { concurrency: 64 },
      )
      await publish(...Array.from({ length: 64 }, (_, n) => ({ id: `m${n}`, key: `k${n}`, body: null })))
      await until('64 messages run', () => seen.length === 64)
      const stopped = first.stop()
      gate.resolve(undefined)
      await stopped
      const again: string[] = []
      start(({ message }) => void again.push(message.id))
      await publish({ id: 'last', key: 'k0', body: null })
      await until('the message published since', () => again.includes('last'))
      assert.deepEqual(again, ['last'])
    },
  },
  {
    name: 'carries id, key, type, time, headers and bytes untouched, and tombstones, empty bodies and missing keys as such',
    async body({ publish, start, topic }, { features: { maxHeaderBytes = 65_536 } }) {
      const headers = headersFrom([
        ['text', 'ü'],
        ['bytes', new Uint8Array([0xff, 0])],
        ['many', ['a', 'b']],
        ['__proto__', 'plain'],
        ['constructor', 'plain'],
        ['baggage', 'x'.repeat(Math.min(65_536, maxHeaderBytes))],
      ])
      // Longer than what AMQP has for ids.
      const longId = 'i'.repeat(300)
      const sent = [
        { id: longId, key: 'k', body: new Uint8Array() },
        { id: 'full', key: 'k', type: 'placed', timeMs: 1234, headers, body: new Uint8Array([0, 0xff, 1]) },
        { id: 'tombstone', key: 'k', body: null },
        { id: 'empty key', key: '', body: new Uint8Array([1]) },
        { id: 'no key', body: new Uint8Array([2]) },
      ]
      const got = new Map<string, Delivery<Bytes>>()
      start((delivery) => void got.set(delivery.message.id, delivery))
      await publish(...sent)
      await until('five messages', () => got.size === 5)
      const full = got.get('full')
      assert.equal(full?.message.type, 'placed')
      assert.equal(full.message.timeMs, 1234)
      assert.equal(full.origin.destination, topic)
      assert.deepEqual([...(full.bytes ?? [])], [0, 0xff, 1])
      for (const [name, value] of Object.entries(headers))
        assert.deepEqual(plain(full.message.headers[name]), plain(value), `the header ${name}`)
      assert.deepEqual(
        sent.map(({ id }) => got.get(id)?.message.key),
        ['k', 'k', 'k', '', null],
      )
      assert.deepEqual([...(got.get(longId)?.bytes ?? [0])], [])
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

/** What is delivered, how often, in which order, and when again. */
export function deliveryCases(): readonly TransportCase[] {
  return cases
}

function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value]
  return Array.isArray(value) ? value.map(plain) : value
}
