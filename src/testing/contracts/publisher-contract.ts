import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { isPublishError } from '../../core/errors.ts'
import { headersFrom, type Bytes, type Message } from '../../core/message.ts'
import { failuresIn, outgoing, type Outgoing, type OutgoingParts, type Publisher } from '../../core/publisher.ts'
import { contractOf, type ContractCase } from './contract.ts'

/** One publisher to be tested, with the broker behind it. */
export interface PublisherHarness {
  readonly publisher: Publisher
  /** A topic, queue or subject that no other case uses. */
  readonly createDestination: () => Promise<string> | string
  /**
   * What the broker has there at this moment: those of one key in their order. It must not wait for more to come, else
   * a publisher that resolves too early is not noticed.
   */
  readonly arrived: (destination: string) => Promise<readonly Message<Bytes>[]>
  /** A message that this broker will never take: too large, to nowhere. Without it, refusals are not looked at. */
  readonly refused?: (destination: string) => OutgoingParts<Bytes>
  /** The largest value of one header that the broker carries. Without it, larger ones are not looked at. */
  readonly maxHeaderBytes?: number
  /** Ways to lose the broker, by name. Without any, outages are not looked at. */
  readonly outages?: Readonly<Record<string, Outage>>
  /** After so long without an answer it gives up by itself. @defaultValue 30_000 */
  readonly givesUpMs?: number
  readonly dispose?: () => Promise<void>
}

export interface Outage {
  /** From here on nobody can be reached, or nobody answers. */
  readonly begin: () => Promise<void> | void
  readonly end: () => Promise<void> | void
}

/**
 * What every publisher must promise, as data for any test runner:
 * `for (const { name, run } of publisherContract(create)) it(name, run)`.
 * `create` is called for every case.
 */
export function publisherContract(create: () => Promise<PublisherHarness> | PublisherHarness): readonly ContractCase[] {
  return contractOf(create, cases)
}

const cases: Readonly<Record<string, (harness: PublisherHarness) => Promise<void>>> = {
  async 'resolves at once for no messages'({ publisher }) {
    await publisher.publish([])
  },

  async 'O-17 resolves only when everything has arrived'({ publisher, createDestination, arrived }) {
    const destination = await createDestination()
    for (let round = 1; round <= 3; round++) {
      await publisher.publish(numbered(destination, 20, { from: 20 * (round - 1) }))
      assert.equal(new Set(idsOf(await arrived(destination))).size, 20 * round, 'not all had arrived when it resolved')
    }
  },

  async 'O-20 carries id, key, type, time, headers and bytes untouched'(harness) {
    const { publisher, createDestination, arrived, maxHeaderBytes = 16_384 } = harness
    const destination = await createDestination()
    const headers = headersFrom([
      ['text', 'ü'],
      ['empty', ''],
      ['bytes', new Uint8Array([0xff, 0])],
      ['many', ['a', 'b']],
      ['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
      ['__proto__', 'plain'],
      ['constructor', 'plain'],
      ['baggage', 'x'.repeat(maxHeaderBytes)],
    ])
    const body = new Uint8Array([0, 0xff, 1])
    await publisher.publish([outgoing({ destination, id: 'm', key: 'k', type: 'placed', timeMs: 1234, headers, body })])
    const [got] = await arrived(destination)
    assert.ok(got !== undefined, 'nothing arrived')
    const { id, key, type, timeMs } = got
    assert.deepEqual({ id, key, type, timeMs }, { id: 'm', key: 'k', type: 'placed', timeMs: 1234 })
    assert.deepEqual(plain(got.body), plain(body))
    // A broker may add some of its own.
    for (const [name, value] of Object.entries(headers))
      assert.deepEqual(plain(got.headers[name]), plain(value), `the header ${name}`)
  },

  async 'tells tombstones from empty bodies, and missing keys from empty ones'(harness) {
    const { publisher, createDestination, arrived } = harness
    const destination = await createDestination()
    const parts = [
      { id: 'tombstone', key: 'k', body: null },
      { id: 'empty body', key: 'k', body: new Uint8Array() },
      { id: 'empty key', key: '', body: new Uint8Array([1]) },
      { id: 'no key', key: null, body: new Uint8Array([1]) },
    ]
    await publisher.publish(parts.map((part) => outgoing({ destination, ...part })))
    const got = new Map((await arrived(destination)).map((message) => [message.id, message]))
    for (const { id, key, body } of parts) {
      assert.equal(got.get(id)?.key, key, `the key of '${id}'`)
      assert.deepEqual(plain(got.get(id)?.body), plain(body), `the body of '${id}'`)
    }
  },

  async 'keeps every key in the order of the list, call after call'({ publisher, createDestination, arrived }) {
    const destination = await createDestination()
    const messages = numbered(destination, 300, { keys: 7 })
    for (let from = 0; from < messages.length; from += 60) await publisher.publish(messages.slice(from, from + 60))
    const got = await arrived(destination)
    for (const key of new Set(messages.map((message) => message.key)))
      assert.deepEqual(firstsOf(got, key), firstsOf(messages, key), `the order of ${key}`)
  },

  async 'sends each message where it belongs, several places in one call'({ publisher, createDestination, arrived }) {
    const places = [await createDestination(), await createDestination(), await createDestination()]
    const messages = places.flatMap((destination, place) => numbered(destination, 20, { from: 20 * place }))
    // In turns, as an outbox has them.
    await publisher.publish(messages.toSorted((one, other) => (one.timeMs % 20) - (other.timeMs % 20)))
    for (const destination of places) {
      const mine = messages.filter((message) => message.destination === destination)
      assert.deepEqual(new Set(idsOf(await arrived(destination))), new Set(idsOf(mine)))
    }
  },

  async 'takes calls at once and loses nothing'({ publisher, createDestination, arrived }) {
    const destination = await createDestination()
    const messages = numbered(destination, 200)
    const calls = Array.from({ length: 20 }, (_, call) => messages.slice(10 * call, 10 * call + 10))
    await Promise.all(calls.map((some) => publisher.publish(some)))
    assert.deepEqual(new Set(idsOf(await arrived(destination))), new Set(idsOf(messages)))
  },

  async 'O-8 sends a message again under its id, if the first answer was lost'(harness) {
    const { publisher, createDestination, arrived } = harness
    const destination = await createDestination()
    const [message] = numbered(destination, 1)
    assert.ok(message !== undefined)
    await publisher.publish([message])
    await publisher.publish([message])
    await publisher.publish([message, message])
    // A broker that knows the id may keep one of them.
    assert.deepEqual(new Set(idsOf(await arrived(destination))), new Set([message.id]))
  },

  async 'changes nothing about what it is given'({ publisher, createDestination }) {
    const destination = await createDestination()
    const headers = Object.freeze(headersFrom([['many', Object.freeze(['a', 'b'])]]))
    const message = Object.freeze({
      ...outgoing({ destination, id: 'm', key: 'k', headers, body: new Uint8Array([1]) }),
    })
    const messages = Object.freeze([message])
    await publisher.publish(messages, Object.freeze({}))
    assert.deepEqual([...message.body], [1])
    assert.deepEqual(Object.entries(message.headers), [['many', ['a', 'b']]])
  },

  async 'sends nothing for a signal that has aborted'({ publisher, createDestination, arrived }) {
    const destination = await createDestination()
    await rejects(publisher.publish(numbered(destination, 3), { signal: AbortSignal.abort() }), 'an aborted signal')
    assert.deepEqual(await arrived(destination), [])
  },

  async 'O-7 names what was refused for good, by its place in the list, and sends the others'(harness) {
    const { publisher, createDestination, arrived, refused } = harness
    if (refused === undefined) return
    const destination = await createDestination()
    const good = numbered(destination, 4)
    const bad = (id: string): Outgoing => outgoing({ ...refused(destination), id, key: 'k0' })
    const messages = [good[0], bad('bad 1'), good[1], good[2], bad('bad 2'), good[3]].filter((one) => one !== undefined)
    const error = await rejects(publisher.publish(messages), 'a message that is refused')
    assert.ok(isPublishError(error), `a refusal is a PublishError, not ${String(error)}`)
    assert.deepEqual(error.failures.map(({ index, permanent }) => [index, permanent]).sort(), [
      [1, true],
      [4, true],
    ])
    // What a PublishError does not name is confirmed.
    assert.deepEqual(firstsOf(await arrived(destination), 'k0'), idsOf(good))
  },

  async 'names a message whose header is larger than the broker carries, and sends the others'(harness) {
    const { publisher, createDestination, arrived, maxHeaderBytes } = harness
    if (maxHeaderBytes === undefined) return
    const destination = await createDestination()
    const messages = numbered(destination, 3)
    const headers = headersFrom([['baggage', 'x'.repeat(2 * maxHeaderBytes)]])
    const some = messages.map((message, at) => (at === 1 ? { ...message, headers } : message))
    const error = await rejects(publisher.publish(some), 'a header that the broker cannot carry')
    assert.ok(isPublishError(error), `a refusal is a PublishError, not ${String(error)}`)
    assert.deepEqual(
      error.failures.map(({ index, permanent }) => [index, permanent]),
      [[1, true]],
    )
    assert.deepEqual(firstsOf(await arrived(destination), 'k0'), ['m0', 'm2'])
  },

  async 'O-6 takes no outage for a refusal, and goes on when it is over'(harness) {
    const { publisher, createDestination, arrived, outages = {}, givesUpMs = 30_000 } = harness
    for (const [what, { begin, end }] of Object.entries(outages)) {
      const destination = await createDestination()
      const messages = numbered(destination, 3)
      await publisher.publish(messages.slice(0, 1))
      await begin()
      // One alone too: a list that is sent again in halves may get through, and hide what was thought of the first error.
      const lists = [messages, [outgoing({ destination, id: 'alone', key: 'alone', body: null })]]
      const errors = await Promise.all(lists.map((list) => within(2 * givesUpMs, what, publisher.publish(list))))
      await end()
      for (const error of errors.filter(isPublishError)) {
        // Without them it would read as "all the others are confirmed".
        assert.ok(failuresIn(error, messages.length), `${what}: a PublishError names none of the messages it was given`)
        // Refused for good, it would be thrown away.
        const given = error.failures.filter(({ permanent }) => permanent)
        assert.deepEqual(given, [], `${what}: it says that messages are refused for good`)
      }
      await publisher.publish(messages)
      assert.deepEqual(firstsOf(await arrived(destination), 'k0'), idsOf(messages), `${what}: what arrived`)
    }
  },

  async 'O-17 stops waiting for an answer when its signal aborts'(harness) {
    const { publisher, createDestination, outages = {}, givesUpMs = 30_000 } = harness
    for (const [what, { begin, end }] of Object.entries(outages)) {
      const destination = await createDestination()
      await publisher.publish(numbered(destination, 1))
      await begin()
      const stopping = new AbortController()
      const { signal } = stopping
      const published = publisher.publish(numbered(destination, 1), { signal })
      stopping.abort(new Error('shutting down'))
      // Long before it would have given up by itself.
      await within(givesUpMs / 2, `${what}, and its signal aborts`, published)
      await end()
    }
  },
}

/** Numbers that stand in the body too; every `keys`-th has the same key. */
function numbered(destination: string, count: number, { from = 0, keys = 1 } = {}): readonly Outgoing[] {
  return Array.from({ length: count }, (_, at) => {
    const number = from + at
    const body = Buffer.from(String(number))
    return outgoing({ destination, id: `m${number}`, key: `k${number % keys}`, timeMs: number, body })
  })
}

async function rejects(work: Promise<unknown>, what: string): Promise<unknown> {
  const answer = await work.then(
    () => 'resolved' as const,
    (error: unknown) => ({ error }),
  )
  assert.ok(answer !== 'resolved', `it resolves although there is ${what}`)
  return answer.error
}

async function within(ms: number, what: string, work: Promise<void>): Promise<unknown> {
  const answered = new AbortController()
  const tooLate = sleep(ms, undefined, { signal: answered.signal }).then(() =>
    assert.fail(`${what}: no answer within ${ms} ms`),
  )
  try {
    return await Promise.race([rejects(work, what), tooLate])
  } finally {
    tooLate.catch(() => {})
    answered.abort()
  }
}

function idsOf(messages: readonly Message<Bytes>[]): readonly string[] {
  return messages.map(({ id }) => id)
}

/** The ids of one key, in order; what came twice counts where it came first. */
function firstsOf(messages: readonly Message<Bytes>[], key: string | null): readonly string[] {
  return [...new Set(idsOf(messages.filter((message) => message.key === key)))]
}

function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value]
  return Array.isArray(value) ? value.map(plain) : value
}
