import { describe, expect, it } from 'vitest'
import { headersFrom, outgoing, PublishError, type Bytes, type Outgoing, type Publisher } from 'holdfast'
import { publisherContract, type PublisherHarness } from 'holdfast/testing'

const tooLarge = 100_000
const maxHeaderBytes = 20_000
const givesUpMs = 60

/** The least broker and the right publisher for it, where a bug can be put in. */
function world(bug: Bug = {}): PublisherHarness {
  const topics = new Map<string, Outgoing[]>()
  let away: 'refuses' | 'answers nobody' | undefined
  let count = 0

  const append = (message: Outgoing): void => {
    const kept = structuredClone(message)
    topics.set(message.destination, [
      ...(topics.get(message.destination) ?? []),
      { ...kept, headers: headersFrom(Object.entries(message.headers)) },
    ])
  }
  const right: Publisher = {
    async publish(messages, { signal } = {}) {
      if (messages.length === 0) return
      signal?.throwIfAborted()
      if (away === 'refuses') throw new Error('ECONNREFUSED')
      if (away === 'answers nobody')
        await new Promise((_, reject) => {
          setTimeout(() => reject(new Error('not confirmed in time')), givesUpMs)
          signal?.addEventListener('abort', () => reject(new Error('aborted')))
        })
      const failures = messages.flatMap((message, index) => {
        const error = new Error('too large')
        const headerBytes = JSON.stringify(message.headers).length
        if ((message.body?.byteLength ?? 0) >= tooLarge || headerBytes > maxHeaderBytes)
          return [{ index, error, permanent: true }]
        append(message)
        return []
      })
      if (failures.length > 0) throw new PublishError('some were refused', failures)
    },
  }
  return {
    publisher: bug.publisher?.(right, append) ?? right,
    createDestination: () => `topic-${count++}`,
    arrived: async (topic) => topics.get(topic) ?? [],
    refused: (destination) => ({ destination, body: new Uint8Array(tooLarge) }),
    maxHeaderBytes: 16_384,
    outages: Object.fromEntries(
      (['refuses', 'answers nobody'] as const).map((how) => [
        how,
        { begin: () => void (away = how), end: () => void (away = undefined) },
      ]),
    ),
    givesUpMs,
  }
}

interface Bug {
  readonly publisher?: (right: Publisher, append: (message: Outgoing) => void) => Publisher
}

/** Changes every message on its way. */
const changed = (change: (message: Outgoing) => Outgoing): Bug => ({
  publisher: (right) => ({ publish: (messages, options) => right.publish(messages.map(change), options) }),
})

/** Does something about what the right one answers with. */
const failing = (handle: (error: unknown, messages: readonly Outgoing[]) => void): Bug => ({
  publisher: (right) => ({
    publish: (messages, options) => right.publish(messages, options).catch((error: unknown) => handle(error, messages)),
  }),
})

const texts = (body: Bytes): Bytes => body && new TextEncoder().encode(new TextDecoder().decode(body))

/** What publishers get wrong, and the clause that says so. */
const bugs: Readonly<Record<string, readonly [clause: string, bug: Bug]>> = {
  'fails without messages': [
    'resolves at once for no messages',
    {
      publisher: (right) => ({
        async publish(messages, options) {
          if (messages.length === 0) throw new RangeError('nothing to send')
          await right.publish(messages, options)
        },
      }),
    },
  ],
  'resolves once it is sent': [
    'O-17 resolves only when everything has arrived',
    {
      publisher: (right) => ({
        async publish(messages, options) {
          setTimeout(() => void right.publish(messages, options).catch(() => {}), 5)
        },
      }),
    },
  ],
  'drops the last of a batch': [
    'O-17 resolves only when everything has arrived',
    { publisher: (right) => ({ publish: (messages, options) => right.publish(messages.slice(0, 19), options) }) },
  ],
  'sends bodies as text': [
    'O-20 carries id, key, type, time, headers and bytes untouched',
    changed((message) => ({ ...message, body: texts(message.body) })),
  ],
  'keeps one of several values of a header': [
    'O-20 carries id, key, type, time, headers and bytes untouched',
    changed((message) => ({
      ...message,
      headers: headersFrom(
        Object.entries(message.headers).map(([name, value]) => [name, Array.isArray(value) ? String(value[0]) : value]),
      ),
    })),
  ],
  'merges headers into a plain object': [
    'O-20 carries id, key, type, time, headers and bytes untouched',
    changed((message) => {
      const merged: Record<string, unknown> = {}
      for (const [name, value] of Object.entries(message.headers)) merged[name] = value
      return { ...message, headers: headersFrom(Object.entries(merged) as [string, string][]) }
    }),
  ],
  'draws an id of its own': [
    'O-8 sends a message again under its id, if the first answer was lost',
    changed(({ id: _, ...message }) => outgoing(message)),
  ],
  'makes tombstones empty bodies': [
    'tells tombstones from empty bodies, and missing keys from empty ones',
    changed((message) => ({ ...message, body: message.body ?? new Uint8Array() })),
  ],
  'takes an empty key for none': [
    'tells tombstones from empty bodies, and missing keys from empty ones',
    changed((message) => ({ ...message, key: message.key === '' ? null : message.key })),
  ],
  'sends the newest first': [
    'keeps every key in the order of the list, call after call',
    { publisher: (right) => ({ publish: (messages, options) => right.publish(messages.toReversed(), options) }) },
  ],
  'sends all to where the first goes': [
    'sends each message where it belongs, several places in one call',
    {
      publisher: (right) => ({
        publish: (messages, options) =>
          right.publish(
            messages.map((message) => ({ ...message, destination: messages[0]?.destination ?? '' })),
            options,
          ),
      }),
    },
  ],
  'keeps one list for all calls': [
    'takes calls at once and loses nothing',
    {
      publisher(right) {
        let waiting: readonly Outgoing[] = []
        return {
          async publish(messages, options) {
            waiting = messages
            await Promise.resolve()
            await right.publish(waiting, options)
          },
        }
      },
    },
  ],
  'refuses an id that it has sent': [
    'O-8 sends a message again under its id, if the first answer was lost',
    {
      publisher(right) {
        const sent = new Set<Outgoing>()
        return {
          async publish(messages, options) {
            if (messages.some((message) => sent.has(message))) throw new Error('duplicate id')
            for (const message of messages) sent.add(message)
            await right.publish(messages, options)
          },
        }
      },
    },
  ],
  'writes into the message': [
    'changes nothing about what it is given',
    {
      publisher: (right) => ({
        async publish(messages, options) {
          for (const message of messages) Object.assign(message, { timeMs: message.timeMs + 0 })
          await right.publish(messages, options)
        },
      }),
    },
  ],
  'looks at no signal before it sends': [
    'sends nothing for a signal that has aborted',
    { publisher: (right) => ({ publish: (messages) => right.publish(messages) }) },
  ],
  'fails for all of a batch with one that is refused': [
    'O-7 names what was refused for good, by its place in the list, and sends the others',
    failing((error) => {
      throw new Error('the batch was refused', { cause: error })
    }),
  ],
  'counts from the messages that were refused': [
    'O-7 names what was refused for good, by its place in the list, and sends the others',
    failing((error) => {
      if (!(error instanceof PublishError)) throw error
      throw new PublishError(
        error.message,
        error.failures.map((failure, index) => ({ ...failure, index })),
      )
    }),
  ],
  'takes headers that are too large for an outage': [
    'names a message whose header is larger than the broker carries, and sends the others',
    failing((error, messages) => {
      const isLarge = messages.some(({ headers }) => JSON.stringify(headers).length > maxHeaderBytes)
      throw isLarge ? new Error('the connection was closed') : error
    }),
  ],
  'swallows refusals': [
    'O-7 names what was refused for good, by its place in the list, and sends the others',
    failing((error) => {
      if (!(error instanceof PublishError)) throw error
    }),
  ],
  'takes an outage for a refusal': [
    'O-6 takes no outage for a refusal, and goes on when it is over',
    failing((error, messages) => {
      if (error instanceof PublishError) throw error
      throw new PublishError(
        'failed',
        messages.map((_, index) => ({ index, error, permanent: true })),
      )
    }),
  ],
  'says that some failed, and not which': [
    'O-6 takes no outage for a refusal, and goes on when it is over',
    failing((error) => {
      throw error instanceof PublishError ? error : new PublishError('some failed', [])
    }),
  ],
  'swallows outages': [
    'O-6 takes no outage for a refusal, and goes on when it is over',
    failing((error) => {
      if (error instanceof PublishError) throw error
    }),
  ],
  'waits for a lost answer for ever': [
    'O-6 takes no outage for a refusal, and goes on when it is over',
    failing((error) => {
      if (!String(error).includes('in time')) throw error
      return new Promise(() => {})
    }),
  ],
  'is deaf to its signal while it waits': [
    'O-17 stops waiting for an answer when its signal aborts',
    {
      publisher: (right) => ({
        async publish(messages, { signal } = {}) {
          signal?.throwIfAborted()
          await right.publish(messages)
        },
      }),
    },
  ],
}

describe('the publisher contract', () => {
  for (const { name, run } of publisherContract(() => world())) it(name, run)

  it.for(Object.entries(bugs))('fails a publisher that %s', async ([, [clause, bug]]) => {
    const broken = publisherContract(() => world(bug)).find(({ name }) => name === clause)
    await expect(broken?.run()).rejects.toThrow()
  })

  it('has no clause that cannot fail', () => {
    const clauses = publisherContract(() => world()).map(({ name }) => name)
    expect(new Set(Object.values(bugs).map(([clause]) => clause))).toEqual(new Set(clauses))
  })
})
