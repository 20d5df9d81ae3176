import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Delivery, Origin } from '../../src/core/delivery.ts'
import {
  metadataOf,
  readDeadLetter,
  withMetadata,
  type DeadLetter,
  type DeadLetterMetadata,
} from '../../src/dead-letter/envelope.ts'
import type { FailureReason } from '../../src/core/errors.ts'
import { headersFrom, type Bytes, type Headers, type HeaderValue, type Message } from '../../src/core/message.ts'
import { neverAborts } from '../../src/core/signals.ts'

const budget = 16_384
const circumstances = { timeMs: 0, stack: null, claim: undefined, host: 'here', version: null }

// Whole characters only: half a surrogate pair has no UTF-8.
const text = (maxLength: number): fc.Arbitrary<string> => fc.string({ unit: 'grapheme', maxLength })
const bytes = fc.uint8Array({ maxLength: 50 }).map((array) => Buffer.from(array))
// Bytes that are UTF-8 arrive as text: only the others stay bytes.
const notText = bytes.map((some) => Buffer.concat([some, Buffer.from([0xff])]))
const headerValue: fc.Arbitrary<HeaderValue> = fc.oneof(text(20), notText)
const headerName = fc.oneof(
  text(10),
  fc.constantFrom(
    '__proto__',
    'constructor',
    'prototype',
    'toString',
    'traceparent',
    'message-id',
    'Holdfast-Dead-reason',
  ),
)
const headers: fc.Arbitrary<Headers> = fc
  .array(fc.tuple(headerName, fc.oneof(headerValue, fc.array(headerValue, { minLength: 1, maxLength: 3 }))), {
    maxLength: 8,
  })
  .map((pairs) => headersFrom(pairs))
const message: fc.Arbitrary<Message<Bytes>> = fc.record({
  id: text(30),
  type: text(30),
  key: fc.option(text(30)),
  headers,
  body: fc.option(bytes),
  timeMs: fc.nat(),
})
const origin: fc.Arbitrary<Origin> = fc.record({
  system: text(10),
  destination: text(200),
  partition: fc.option(text(10)),
  position: fc.option(text(10)),
  group: fc.option(text(100)),
})
const metadata: fc.Arbitrary<DeadLetterMetadata> = fc.record({
  reason: fc.constantFrom<FailureReason>('permanent', 'attempts', 'undecodable', 'conflict', 'crashed', 'unhandled'),
  attempts: fc.nat(),
  timeMs: fc.nat(),
  count: fc.integer({ min: 1, max: 1000 }),
  pipeline: text(30),
  origin,
  errorName: text(30),
  errorMessage: text(300),
  errorStack: fc.option(text(500)),
  errorCode: fc.option(text(10)),
  claimScope: fc.option(text(30)),
  claimKey: fc.option(text(30)),
  history: fc.array(
    fc.record({
      timeMs: fc.nat(),
      errorName: text(20),
      errorMessage: text(40),
      host: text(10),
      version: fc.option(fc.string({ minLength: 1, maxLength: 8 })),
    }),
    { maxLength: 5 },
  ),
})

function ours(headers: Headers): [string, string][] {
  return Object.entries(headers).filter((entry): entry is [string, string] => entry[0].startsWith('holdfast-dead-'))
}

function sizeOf(headers: Headers): number {
  return ours(headers).reduce((sum, [name, value]) => sum + name.length + Buffer.byteLength(value), 0)
}

const someMessage: Message<Bytes> = {
  id: 'm1',
  type: 'order.placed',
  key: 'k1',
  headers: headersFrom([['traceparent', '00-1-2-01']]),
  body: Buffer.from('{}'),
  timeMs: 1,
}
const someMetadata: DeadLetterMetadata = {
  reason: 'attempts',
  attempts: 5,
  timeMs: 1_700_000_000_000,
  count: 1,
  pipeline: 'billing.orders',
  origin: { system: 'kafka', destination: 'orders', partition: '3', position: '42', group: 'billing' },
  errorName: 'TypeError',
  errorMessage: 'x is undefined',
  errorStack: null,
  errorCode: null,
  claimScope: null,
  claimKey: null,
  history: [],
}

/** Without what it keeps for its next death. */
function stripped(read: DeadLetter | undefined): Message<Bytes> | undefined {
  return read && { ...read.message, headers: headersFrom(Object.entries(read.message.headers).filter(isUsers)) }
}

function isUsers(entry: [string, unknown]): entry is [string, HeaderValue] {
  return !entry[0].startsWith('holdfast-dead-')
}

describe('the dead-letter envelope', () => {
  it('gives back the message and the metadata that were put in', () => {
    fc.assert(
      fc.property(message, metadata, (original, noted) => {
        const read = readDeadLetter(withMetadata(original, noted, 1_000_000))
        expect(read?.metadata).toEqual(noted)
        expect(stripped(read)).toEqual(original)
        expect(read?.message.body).toBe(original.body)
        expect(Object.getPrototypeOf(read?.message.headers)).toBe(null)
      }),
    )
  })

  it('X: keeps its headers inside the budget, and the headers of the user whatever they are', () => {
    fc.assert(
      fc.property(message, metadata, fc.integer({ min: 256, max: 2_000 }), (original, noted, maxBytes) => {
        const dead = withMetadata(original, noted, maxBytes)
        expect(sizeOf(dead.headers)).toBeLessThanOrEqual(maxBytes)
        const read = readDeadLetter(dead)
        expect(stripped(read)).toEqual(original)
        // What matters most is there in any case; text is cut between characters.
        expect(read?.metadata).toMatchObject({ reason: noted.reason, attempts: noted.attempts, count: noted.count })
        // A replacement character is a cut inside a character, unless it was there before.
        fc.pre(!JSON.stringify(noted).includes('\ufffd'))
        for (const [, value] of ours(dead.headers)) expect(value).not.toContain('\ufffd')
      }),
    )
  })

  it('X: cuts the longest and least important first', () => {
    const noted = { ...someMetadata, errorMessage: 'é'.repeat(2_000), errorStack: 'at '.repeat(10_000) }
    const read = readDeadLetter(withMetadata(someMessage, noted, 1_000))
    expect(read?.metadata).toMatchObject({ reason: 'attempts', origin: someMetadata.origin, errorName: 'TypeError' })
    expect(read?.metadata.errorMessage).toMatch(/^é{100,}$/)
    expect(read?.metadata.errorStack).toBe(null)
  })

  it('X: overwrites header names of ours that came from outside, and merges none of them', () => {
    const hostile = headersFrom([
      ['holdfast-dead-reason', 'permanent'],
      ['holdfast-dead-error-stack', 'forged'],
      ['holdfast-dead-anything', 'x'.repeat(100_000)],
      ['holdfast-dead-origin-group', ['a', 'b']],
      ['kept', 'yes'],
    ])
    const noted = { ...someMetadata, origin: { ...someMetadata.origin, group: null } }
    const dead = withMetadata({ ...someMessage, headers: hostile }, noted, budget)
    expect(readDeadLetter(dead)?.metadata).toEqual(noted)
    expect(dead.headers).not.toHaveProperty('holdfast-dead-anything')
    expect(dead.headers).not.toHaveProperty('holdfast-dead-origin-group')
    expect(dead.headers['kept']).toBe('yes')
  })

  it('X: hostile header names are ordinary names', () => {
    const hostile = headersFrom([
      ['__proto__', 'polluted'],
      ['constructor', 'x'],
    ])
    const dead = withMetadata({ ...someMessage, headers: hostile }, someMetadata, budget)
    expect(Object.keys(dead.headers)).toEqual(expect.arrayContaining(['__proto__', 'constructor']))
    expect(Object.getPrototypeOf(dead.headers)).toBe(null)
    expect('polluted' in {}).toBe(false)
  })

  it('counts how often a message was dead-lettered, whatever else a header of that name may say', () => {
    const noted = (count: string | null): number => {
      const headers = headersFrom(count === null ? [] : [['holdfast-dead-count', count]])
      const delivery: Delivery<Bytes> = {
        message: { ...someMessage, headers },
        bytes: null,
        pipeline: 'billing.orders',
        origin: someMetadata.origin,
        attempt: 1,
        signal: neverAborts,
        raw: null,
      }
      const failure = { reason: 'attempts', errorName: 'E', errorMessage: 'm', attempts: 5 } as const
      return metadataOf(delivery, failure, circumstances).count
    }
    expect(noted(null)).toBe(1)
    expect(noted('3')).toBe(4)
    for (const nonsense of ['-1', '1e9', 'NaN', '', '99999999999999999999', '{}']) expect(noted(nonsense)).toBe(1)
  })

  it('keeps the count and the last five deaths with the message, so that a redrive that fails goes on counting', () => {
    let message = someMessage
    for (let times = 1; times <= 7; times++) {
      const failure = { reason: 'attempts', errorName: 'E', errorMessage: `death ${times}`, attempts: 5 } as const
      const delivery = {
        message,
        bytes: null,
        pipeline: 'p',
        origin: someMetadata.origin,
        attempt: 1,
        signal: neverAborts,
        raw: null,
      }
      const noted = metadataOf(delivery, failure, { ...circumstances, timeMs: times, version: '1.2' })
      const read = readDeadLetter(withMetadata(message, noted, budget))
      expect(read?.metadata.count).toBe(times)
      expect(read?.metadata.history.at(-1)).toEqual({
        timeMs: times,
        errorName: 'E',
        errorMessage: `death ${times}`,
        host: 'here',
        version: '1.2',
      })
      message = read?.message ?? expect.fail('unread')
    }
    const { history } =
      readDeadLetter(
        withMetadata(
          message,
          metadataOf(
            {
              message,
              bytes: null,
              pipeline: 'p',
              origin: someMetadata.origin,
              attempt: 1,
              signal: neverAborts,
              raw: null,
            },
            { reason: 'attempts', errorName: 'E', errorMessage: 'death 8', attempts: 1 },
            circumstances,
          ),
          budget,
        ),
      )?.metadata ?? expect.fail('unread')
    expect(history.map(({ errorMessage }) => errorMessage)).toEqual([4, 5, 6, 7, 8].map((n) => `death ${n}`))
  })

  it('keeps as many of the latest deaths as fit, whole, and reads nonsense as none', () => {
    const death = { timeMs: 1, errorName: 'E', errorMessage: 'm'.repeat(100), host: 'here', version: null }
    const noted = { ...someMetadata, history: Array.from({ length: 5 }, (_, at) => ({ ...death, timeMs: at })) }
    expect(
      readDeadLetter(withMetadata(someMessage, noted, 1_000))?.metadata.history.map(({ timeMs }) => timeMs),
    ).toEqual([2, 3, 4])
    for (const nonsense of ['{', '1', '[1,null,"x",{"timeMs":"soon"}]'])
      expect(
        readDeadLetter({
          ...someMessage,
          headers: headersFrom([
            ['holdfast-dead-reason', 'crashed'],
            ['holdfast-dead-history', nonsense],
          ]),
        })?.metadata.history,
      ).toEqual([])
  })

  it('does not take other messages for dead letters', () => {
    expect(readDeadLetter(someMessage)).toBe(undefined)
    const odd = headersFrom([['holdfast-dead-reason', 'because']])
    expect(readDeadLetter({ ...someMessage, headers: odd })).toBe(undefined)
    const inherited = headersFrom([['holdfast-dead-reason', 'toString']])
    expect(readDeadLetter({ ...someMessage, headers: inherited })).toBe(undefined)
  })

  it('reads what is left of a dead letter whose headers were damaged', () => {
    const headers = headersFrom([
      ['holdfast-dead-reason', 'crashed'],
      ['holdfast-dead-attempts', 'many'],
      ['holdfast-dead-error-name', Buffer.from([0xff])],
    ])
    expect(readDeadLetter({ ...someMessage, headers })?.metadata).toMatchObject({
      reason: 'crashed',
      attempts: 0,
      count: 1,
      errorName: '',
    })
  })
})
