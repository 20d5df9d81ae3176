import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Delivery, Outcome, Step } from '../../core/delivery.ts'
import { AbandonedError, isPermanent, PermanentError } from '../../core/errors.ts'
import type { Bytes, Message } from '../../core/message.ts'
import { pipeline } from '../../core/pipeline.ts'
import type { Publisher } from '../../core/publisher.ts'
import { ledger, numbered, until, type Handler, type TransportCase } from './transport-bench.ts'

const cases: readonly TransportCase[] = [
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
    name: 'gives what a crashed consumer still ran to the next one, although later messages were done',
    async body({ publish, start }) {
      const done = new Set<string>()
      const first = start(({ message }) => {
        if (message.id === 'm0') return new Promise(() => {})
        done.add(message.id)
      })
      await publish(...numbered(20, 20))
      await until('the others', () => done.size === 19)
      // Long enough for their acks and commits.
      await sleep(500)
      await first.consumer.crash()
      const seen = new Set<string>()
      start(({ message }) => void seen.add(message.id))
      await until('the one that ran', () => seen.has('m0'))
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
    name: 'gives a member that joins no message that still runs elsewhere',
    needs: ({ partitions, order }) => partitions && order === 'key',
    partitions: 6,
    async body({ publish, start }) {
      const gate = Promise.withResolvers<undefined>()
      const starts: string[] = []
      const held: Handler = async ({ message }) => {
        starts.push(message.id)
        await gate.promise
      }
      start(held, { concurrency: 24, drainMs: 5_000 })
      await publish(...numbered(24, 24))
      await until('24 run', () => starts.length === 24)
      start(held, { drainMs: 5_000 })
      // Long enough for a hand-over that waits for nothing.
      await sleep(2_000)
      gate.resolve(undefined)
      assert.equal(starts.length, 24, 'a message ran in two members at once')
    },
  },
  {
    name: 'gives a member that joins a share, and leaves the other one its own',
    needs: ({ partitions, order }) => partitions && order === 'key',
    partitions: 6,
    async body({ publish, start }) {
      const handled: [number, number] = [0, 0]
      const count = (member: 0 | 1) => () => void handled[member]++
      start(count(0))
      await publish(...numbered(60, 60))
      await until('the first has all', () => handled[0] === 60)
      start(count(1))
      await untilShared(handled, (round) =>
        publish(...numbered(60, 60).map((message) => ({ ...message, id: `${round}/${message.id}` }))),
      )
    },
  },
  {
    name: 'comes back by itself after its connections were cut: nothing is lost, and every key stays in order',
    needs: ({ reconnects = false, order }) => reconnects && order === 'key',
    partitions: 2,
    async body({ publish, start }) {
      const book = ledger()
      const messages = numbered(1200, 30)
      const { consumer } = start(book.handle)
      const publishing = (async () => {
        for (let from = 0; from < messages.length; from += 50) {
          await publish(...messages.slice(from, from + 50))
          await sleep(20)
        }
      })()
      for (const handled of [50, 300, 600]) {
        await until(`${handled} messages`, () => book.ids.size >= handled)
        assert.ok(consumer.cut !== undefined, 'the feature `reconnects` needs `cut()`')
        await consumer.cut()
      }
      await publishing
      await until('all', () => book.ids.size === messages.length, 60_000)
      assert.deepEqual(book.faults, [])
    },
  },
]

/** Crashes, shutdowns, poison, floods, handlers that hang, members that come and go. */
export function troubleCases(): readonly TransportCase[] {
  return cases
}

/** Publishes until both members have handled some of it: a share moves in its own time. */
async function untilShared(handled: readonly [number, number], publish: (round: number) => Promise<void>) {
  const deadlineMs = performance.now() + 30_000
  for (let round = 0; ; round++) {
    const [first, second] = handled
    await publish(round)
    await sleep(300)
    if (handled[0] > first && handled[1] > second) return
    assert.ok(performance.now() < deadlineMs, `one member gets nothing: ${handled.join(' and ')} messages`)
  }
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
