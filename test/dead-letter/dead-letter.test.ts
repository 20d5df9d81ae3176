import { hostname } from 'node:os'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { json, type Schema } from '../../src/codecs/json.ts'
import { deadLetter, type DeadLetterOptions } from '../../src/dead-letter/dead-letter.ts'
import { readDeadLetter } from '../../src/dead-letter/envelope.ts'
import type { Delivery, Incoming, Outcome } from '../../src/core/delivery.ts'
import { AbandonedError, FailedBeforeError, PermanentError, PublishError, RetryLater } from '../../src/core/errors.ts'
import { subscribe } from '../../src/core/events.ts'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import { headersFrom, type Bytes } from '../../src/core/message.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import type { Outgoing, Publisher } from '../../src/core/publisher.ts'
import { memoryOutbox, memoryOutboxStore } from '../../src/outbox/memory-store.ts'
import { retry } from '../../src/retry/retry.ts'
import { faultTable } from '../core/fault-table.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { watch, watched } from '../support/watch.ts'

type Handler = (delivery: Delivery<Bytes>) => Promise<unknown> | void

const any: Schema = { '~standard': { version: 1, validate: (value) => ({ value }) } }

/** A dead letter that keeps what it confirmed, and fails while it is told to. */
function target(): Publisher & { readonly letters: Outgoing[]; failure: Error | undefined } {
  const letters: Outgoing[] = []
  return {
    letters,
    failure: undefined,
    async publish(messages) {
      await Promise.resolve()
      if (this.failure !== undefined) throw this.failure
      letters.push(...messages)
    },
  }
}

function orders(handler: Handler, options: Partial<DeadLetterOptions> = {}) {
  const to = target()
  const step = pipeline('billing.orders')
    .use(deadLetter({ to, clock: fakeClock(), ...options }))
    .handle(handler)
  const incoming: Incoming = {
    message: {
      id: 'm1',
      type: 'order.placed',
      key: 'k1',
      body: Buffer.from('{"secret":1}'),
      headers: headersFrom([['traceparent', '00-1-2-01']]),
      timeMs: 77,
    },
    origin: { system: 'kafka', destination: 'orders', partition: '3', position: '42', group: 'billing' },
    attempt: 2,
  }
  return {
    to,
    incoming,
    dispatch: (more?: Partial<Incoming>): Promise<Outcome> => step.dispatch({ ...incoming, ...more }),
  }
}

const throwing =
  (error: Error): Handler =>
  () =>
    Promise.reject(error)

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => expect.fail(`resolved with ${String(value)}`),
    (error: unknown) => error,
  )
}

describe('deadLetter()', () => {
  it('publishes what failed for good, untouched, and only then acks it', async () => {
    const events = watch('dead-lettered')
    const error = new PermanentError('no such customer')
    const { dispatch, to, incoming } = orders(throwing(error))
    expect(await dispatch()).toBe('dead-lettered')
    expect(to.letters).toHaveLength(1)
    const [letter] = to.letters
    expect(letter).toMatchObject({
      id: 'm1',
      type: 'order.placed',
      key: 'k1',
      timeMs: 77,
      destination: 'orders.dead-letters',
    })
    expect(letter?.body).toBe(incoming.message.body)
    expect(letter?.headers['traceparent']).toBe('00-1-2-01')
    expect(readDeadLetter(letter ?? expect.fail('nothing'))?.metadata).toEqual({
      reason: 'permanent',
      attempts: 2,
      timeMs: Date.UTC(2025, 0, 1),
      count: 1,
      pipeline: 'billing.orders',
      origin: incoming.origin,
      errorName: 'PermanentError',
      errorMessage: 'no such customer',
      errorStack: null,
      errorCode: null,
      claimScope: null,
      claimKey: null,
      history: [
        {
          timeMs: Date.UTC(2025, 0, 1),
          errorName: 'PermanentError',
          errorMessage: 'no such customer',
          host: hostname(),
          version: null,
        },
      ],
    })
    expect(events).toMatchObject([{ error, reason: 'permanent', delivery: { message: { id: 'm1' } } }])
  })

  it('lets everything else pass', async () => {
    const { dispatch, to } = orders(() => {})
    expect(await dispatch()).toBe('handled')
    expect(to.letters).toEqual([])
  })

  it.each([
    ['RetryLater', new RetryLater(5)],
    ['an abandoned handler', new AbandonedError('gave up', Promise.resolve())],
  ])('B-2: %s is not final', async (_, error) => {
    const { dispatch, to } = orders(throwing(error))
    expect(await rejection(dispatch())).toBe(error)
    expect(to.letters).toEqual([])
  })

  it('nothing is final while the delivery is being stopped', async () => {
    const error = new Error('cut short')
    const { dispatch, to } = orders(throwing(error))
    expect(await rejection(dispatch({ signal: AbortSignal.abort() }))).toBe(error)
    expect(to.letters).toEqual([])
  })

  it('keeps the bytes of a tombstone and of a body that cannot be decoded', async () => {
    for (const body of [null, Buffer.from([0xff, 0x00, 0x7b])]) {
      const to = target()
      const step = pipeline('orders')
        .use(deadLetter({ to }))
        .decode({
          ...json(any),
          decode: body === null ? () => Promise.reject(new PermanentError('no')) : json(any).decode,
        })
        .handle(() => expect.fail('handled'))
      expect(await step.dispatch({ message: { id: 'm1', body } })).toBe('dead-lettered')
      expect(to.letters[0]?.body).toBe(body)
      expect(readDeadLetter(to.letters[0] ?? expect.fail('nothing'))?.metadata).toMatchObject({
        reason: 'undecodable',
        attempts: 0,
      })
    }
  })

  describe('B-7: while the dead letter takes nothing', () => {
    const tooLarge = new PublishError('too large', [{ index: 0, error: new Error('413'), permanent: true }])
    const refusals: readonly [why: string, waits: string, Error][] = [
      ['is down', 'pipeline', new Error('no brokers')],
      ['refuses this message', 'message', tooLarge],
      ['says so with a PermanentError', 'message', new PermanentError('no such topic')],
    ]
    it.each(refusals)('because it %s, the message is handed back and the %s waits', async (_, holds, failure) => {
      const events = watch('dead-letter-failed')
      const { dispatch, to } = orders(throwing(new Error('poison')))
      to.failure = failure
      const error = await rejection(dispatch())
      expect(error).toMatchObject({ code: 'retry-later', holds, afterMs: 1_000, cause: failure })
      expect(events).toMatchObject([{ error: failure }])
      expect(to.letters).toEqual([])
      to.failure = undefined
      expect(await dispatch()).toBe('dead-lettered')
      expect(to.letters).toHaveLength(1)
    })

    it.each(faultTable)('decides by the one table who waits: %s', async (_, thrown, fault) => {
      const publish = vi.fn<Publisher['publish']>().mockRejectedValue(thrown)
      const { dispatch } = orders(throwing(new Error('poison')), { to: { publish } })
      const holds = fault === 'message' ? 'message' : 'pipeline'
      expect(await rejection(dispatch())).toMatchObject({ code: 'retry-later', holds })
      // What is this message's own is tried once more, with less said about it.
      expect(publish).toHaveBeenCalledTimes(fault === 'message' ? 2 : 1)
    })

    it('takes a PublishError that names no message for an outage, not for a confirmation', async () => {
      const { dispatch } = orders(throwing(new Error('poison')), {
        to: { publish: () => Promise.reject(new PublishError('some failed', [])) },
      })
      expect(await rejection(dispatch())).toMatchObject({ code: 'retry-later', holds: 'pipeline' })
    })

    it('holds the message alone for any permanent refusal, such as a header that an outbox cannot keep', async () => {
      const store = memoryOutboxStore()
      const toOutbox: Publisher = {
        async publish(messages) {
          const tx = store.begin()
          await memoryOutbox().add(tx, messages)
          tx.commit()
        },
      }
      const { dispatch, incoming } = orders(throwing(new Error('poison')), { to: toOutbox })
      const message = { ...incoming.message, headers: headersFrom([['a\0b', 'value']]) }
      expect(await rejection(dispatch({ message }))).toMatchObject({
        code: 'retry-later',
        holds: 'message',
        cause: { code: 'permanent' },
      })
      expect(await dispatch()).toBe('dead-lettered')
    })

    it('says less about a message that is too large with all that there is to say', async () => {
      const to = target()
      const limited: Publisher = {
        publish: (messages) =>
          JSON.stringify({ ...messages[0]?.headers }).length > 500 ? Promise.reject(tooLarge) : to.publish(messages),
      }
      const { dispatch } = orders(throwing(new Error('e'.repeat(900))), { to: limited })
      expect(await dispatch()).toBe('dead-lettered')
      const letter = readDeadLetter(to.letters[0] ?? expect.fail('nothing'))
      expect(letter?.metadata).toMatchObject({ reason: 'unhandled', attempts: 2 })
      expect(Buffer.from(letter?.message.body ?? []).toString()).toBe('{"secret":1}')
    })

    it('a stack that cannot be read loses nothing', async () => {
      const hostile = Object.defineProperty(new Error('poison'), 'stack', {
        get: () => {
          throw new Error('no stack for you')
        },
      })
      const { dispatch, to } = orders(throwing(hostile), { includeStack: true })
      expect(await dispatch()).toBe('dead-lettered')
      expect(to.letters).toHaveLength(1)
    })

    it('does not ack before the write is confirmed', async () => {
      const confirm = Promise.withResolvers<void>()
      const { dispatch } = orders(throwing(new Error('poison')), { to: { publish: () => confirm.promise } })
      const outcome = watched(dispatch())
      await new Promise((resolve) => setImmediate(resolve))
      expect(outcome.now.state).toBe('pending')
      confirm.resolve()
      await new Promise((resolve) => setImmediate(resolve))
      expect(outcome.now.value).toBe('dead-lettered')
    })

    it('a predicate, a destination or a redactor that throws is told, and the message is dead-lettered without it', async () => {
      const broken = (): never => {
        throw new Error('a bug')
      }
      const told: string[] = []
      onTestFinished(subscribe('option-failed', ({ option }) => void told.push(option)))
      for (const options of [{ destination: broken }, { redact: broken }, { shouldDeadLetter: broken }]) {
        const { dispatch, to } = orders(throwing(new Error('secret')), options)
        expect(await dispatch()).toBe('dead-lettered')
        const [letter] = to.letters
        expect(letter?.destination).toBe('orders.dead-letters')
        // Nobody could say what must not be kept.
        const kept = readDeadLetter(letter ?? expect.fail('no letter'))?.metadata.errorMessage
        expect(kept).toBe('redact' in options ? '' : 'secret')
      }
      expect(told).toEqual(['destination', 'redact', 'shouldDeadLetter'])
    })

    it('names the destination, the message and the error, in the nack and in the event', async () => {
      const told: unknown[] = []
      onTestFinished(subscribe('dead-letter-failed', ({ destination }) => void told.push(destination)))
      const { dispatch, to } = orders(throwing(new Error('poison')))
      to.failure = new Error('This server does not host this topic-partition')
      expect(await rejection(dispatch())).toMatchObject({
        message:
          "'orders.dead-letters' did not take the dead letter of message m1: This server does not host this topic-partition",
      })
      expect(told).toEqual(['orders.dead-letters'])
    })

    it('takes a body that a caller without types handed over as text or as an object', async () => {
      for (const [body, bytes] of [
        ['text', 'text'],
        [{ a: 1 }, '{"a":1}'],
        [undefined, ''],
      ] as const) {
        const to = target()
        const step = pipeline('x')
          .use(deadLetter({ to }))
          .handle(throwing(new Error('no')))
        expect(await step.dispatch({ message: { id: 'm1', body: body as never } })).toBe('dead-lettered')
        expect(Buffer.from(to.letters[0]?.body ?? []).toString()).toBe(bytes)
      }
    })

    it('a failed key that comes again is published again with the same id and its recorded failure, and not run', async () => {
      const clock = fakeClock()
      const to = target()
      let starts = 0
      const step = pipeline('billing.orders')
        .use(deadLetter({ to, clock }))
        .use(idempotency({ store: memoryIdempotencyStore({ clock }), clock }))
        .use(retry({ maxAttempts: 2, backoff: { initialMs: 0 }, clock }))
        .handle(() => {
          starts++
          throw new RangeError('poison')
        })
      const incoming = { message: { id: 'm1', body: null } }
      to.failure = new Error('no brokers')
      const first = watched(step.dispatch(incoming))
      await clock.advance(100)
      expect(first.now.error).toMatchObject({ code: 'retry-later', holds: 'pipeline' })
      expect(starts).toBe(2)

      to.failure = undefined
      for (let time = 0; time < 2; time++) expect(await step.dispatch(incoming)).toBe('dead-lettered')
      expect(starts).toBe(2)
      expect(to.letters.map(({ id }) => id)).toEqual(['m1', 'm1'])
      for (const letter of to.letters)
        expect(readDeadLetter(letter)?.metadata).toMatchObject({
          reason: 'attempts',
          attempts: 2,
          errorName: 'RangeError',
          errorMessage: 'poison',
        })
    })
  })

  it('takes the failure that was recorded, not the error that brings it', async () => {
    const failure = { reason: 'crashed', errorName: 'Killed', errorMessage: 'three times', attempts: 3 } as const
    const { dispatch, to } = orders(throwing(new FailedBeforeError('failed before', failure)))
    expect(await dispatch()).toBe('dead-lettered')
    expect(readDeadLetter(to.letters[0] ?? expect.fail('nothing'))?.metadata).toMatchObject(failure)
  })

  it('asks which errors are for it', async () => {
    const { dispatch, to } = orders(({ message }) => Promise.reject(new Error(message.type)), {
      shouldDeadLetter: ({ delivery, failure }) =>
        failure.errorMessage === 'a' && delivery.pipeline === 'billing.orders',
    })
    const message = { id: 'm1', body: null }
    expect(await dispatch({ message: { ...message, type: 'a' } })).toBe('dead-lettered')
    expect(await rejection(dispatch({ message: { ...message, type: 'b' } }))).toMatchObject({ message: 'b' })
    expect(to.letters).toHaveLength(1)
  })

  it('publishes where it is told to', async () => {
    const fixed = orders(throwing(new Error('x')), { destination: 'graveyard' })
    await fixed.dispatch()
    expect(fixed.to.letters[0]?.destination).toBe('graveyard')
    const computed = orders(throwing(new Error('x')), {
      destination: ({ origin, message }) => `${origin.group}.${message.type}`,
    })
    await computed.dispatch()
    expect(computed.to.letters[0]?.destination).toBe('billing.order.placed')
  })

  describe('X: what may not leak', () => {
    const secret = new Error('card 4111 refused')

    it('is redacted before it is written', async () => {
      const { dispatch, to } = orders(throwing(secret), {
        includeStack: true,
        redact: (metadata) => ({ ...metadata, errorMessage: 'redacted', errorStack: null }),
      })
      await dispatch()
      const [letter] = to.letters
      expect(JSON.stringify({ ...letter?.headers })).not.toContain('4111')
      expect(readDeadLetter(letter ?? expect.fail('nothing'))?.metadata.errorMessage).toBe('redacted')
    })

    it('a stack is written only where it is asked for', async () => {
      for (const includeStack of [false, true]) {
        const { dispatch, to } = orders(throwing(secret), { includeStack })
        await dispatch()
        const stack = readDeadLetter(to.letters[0] ?? expect.fail('nothing'))?.metadata.errorStack
        if (includeStack) expect(stack).toContain('dead-letter.test.ts')
        else expect(stack).toBe(null)
      }
    })

    it('metadata stays inside its budget, and an error message inside 1 KB', async () => {
      const huge = Object.assign(new Error('m'.repeat(100_000)), { stack: 's'.repeat(100_000) })
      const { dispatch, to } = orders(throwing(huge), { includeStack: true })
      await dispatch()
      const [letter] = to.letters
      const metadata = readDeadLetter(letter ?? expect.fail('nothing'))?.metadata
      expect(metadata?.errorMessage).toBe('m'.repeat(1024))
      expect(metadata?.errorStack?.length).toBeGreaterThan(10_000)
      let size = 0
      for (const [name, value] of Object.entries(letter?.headers ?? {}))
        if (name.startsWith('holdfast-dead-')) size += name.length + Buffer.byteLength(value as string)
      expect(size).toBeLessThanOrEqual(16_384)
    })

    it('a message with 64 KB of headers keeps them all', async () => {
      const baggage = 'x'.repeat(65_536)
      const { dispatch, to } = orders(throwing(secret))
      await dispatch({ message: { id: 'm1', body: null, headers: headersFrom([['baggage', baggage]]) } })
      expect(to.letters[0]?.headers['baggage']).toBe(baggage)
    })
  })

  it('is refused inside the decoder, inside retry() and idempotency(), and twice', () => {
    const to = target()
    const untyped = deadLetter({ to }) as ReturnType<typeof retry>
    expect(() =>
      pipeline('a')
        .decode(json(any))
        .use(untyped)
        .handle(() => {}),
    ).toThrow('a: dead-letter must not stand inside decode: it must keep the untouched bytes')
    expect(() =>
      pipeline('a')
        .use(retry())
        .use(deadLetter({ to }))
        .handle(() => {}),
    ).toThrow('a: dead-letter must stand outside retry: the first failure would already be final')
    expect(() =>
      pipeline('a')
        .use(idempotency({ store: memoryIdempotencyStore() }))
        .use(deadLetter({ to }))
        .handle(() => {}),
    ).toThrow('a: dead-letter must stand outside idempotency')
    expect(() =>
      pipeline('a')
        .use(deadLetter({ to }))
        .use(deadLetter({ to }))
        .handle(() => {}),
    ).toThrow('a: there are two dead-letter stages')
  })

  it.each([
    [{ to: {} }, 'deadLetter: to must be an object with publish(), got an object'],
    [{ to: undefined }, 'deadLetter: to must be an object with publish(), got undefined'],
    [
      { to: target(), destination: '' },
      "deadLetter: destination must be a text that is not empty or a function, got ''",
    ],
    [{ to: target(), destination: 5 }, 'deadLetter: destination must be a text that is not empty or a function, got 5'],
    [{ to: target(), maxMetadataBytes: 10 }, 'deadLetter: maxMetadataBytes must be an integer of at least 256, got 10'],
    [{ to: target(), redact: 'all' }, "deadLetter: redact must be a function, got 'all'"],
    [{ to: target(), shouldDeadLetter: true }, 'deadLetter: shouldDeadLetter must be a function, got true'],
  ])('refuses %o', (options, message) => {
    expect(() => deadLetter(options as DeadLetterOptions)).toThrow(message)
  })
})
