import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { deadLetter } from '../../src/dead-letter/dead-letter.ts'
import { readDeadLetter } from '../../src/dead-letter/envelope.ts'
import { failureFrom, isHoldfastError, isPermanent, isRetryLater } from '../../src/core/errors.ts'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import { logEvents, type Logger } from '../../src/logs/logs.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import type { Outgoing } from '../../src/core/publisher.ts'
import { retry } from '../../src/retry/retry.ts'
import { timeout } from '../../src/retry/timeout.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'

function withGetter(name: string): Error {
  return Object.defineProperty(new Error('hidden'), name, {
    get() {
      throw new Error(`the getter of ${name} throws`)
    },
  })
}

const revoked = (): unknown => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

/** What handlers have been seen to throw, and worse. */
const thrown: readonly (readonly [what: string, make: () => unknown])[] = [
  ['a text', () => 'no'],
  ['undefined', () => undefined],
  ['null', () => null],
  ['a number', () => 42],
  ['a symbol', () => Symbol('no')],
  ['a bigint', () => 1n],
  ['an object', () => ({ status: 500 })],
  ['an object without a prototype', () => Object.create(null) as object],
  [
    'an object whose toString throws',
    () => ({
      toString() {
        throw new Error('no text')
      },
    }),
  ],
  ['a function', () => () => 1],
  ['a revoked proxy', revoked],
  ['a frozen error', () => Object.freeze(new Error('frozen'))],
  ['an error whose message is no text', () => Object.assign(new Error('x'), { message: { deep: 1 } })],
  ['an error without a name', () => Object.assign(new Error('x'), { name: undefined })],
  ['an error whose message throws', () => withGetter('message')],
  ['an error whose name throws', () => withGetter('name')],
  ['an error whose code throws', () => withGetter('code')],
  [
    'an error whose code is an object without a prototype',
    () => Object.assign(new Error('x'), { code: Object.create(null) as object }),
  ],
  ['an error with a cause that leads back to it', () => Object.assign(new Error('x'), { cause: null })],
  ['an error of 10 MB', () => new Error('x'.repeat(10_000_000))],
  ['an error with NUL and half a surrogate pair', () => new Error('\0 \ud800')],
]

describe('whatever a handler throws', () => {
  it.each(thrown)('%s: is told apart and described without another error', (_, make) => {
    const error = make()
    expect([isHoldfastError(error), isRetryLater(error), isPermanent(error)]).toEqual([false, false, false])
    const { reason, errorName, errorMessage, attempts } = failureFrom(error, 'm1', 2)
    expect([reason, attempts]).toEqual(['unhandled', 2])
    expect(typeof errorName).toBe('string')
    expect(typeof errorMessage).toBe('string')
    expect(errorMessage.length).toBeLessThanOrEqual(1024)
  })

  it.each(thrown)('%s: ends in the dead letter after its attempts, and is never run again', async (_, make) => {
    const lines: string[] = []
    const note = (fields: object, message: string): void => void lines.push(`${message} ${JSON.stringify(fields)}`)
    const log: Logger = { info: note, warn: note, error: note }
    onTestFinished(logEvents(log, { pipelines: ['hostile'] }))
    const clock = fakeClock()
    const letters: Outgoing[] = []
    let runs = 0
    const step = pipeline('hostile')
      .use(deadLetter({ to: { publish: async (messages) => void letters.push(...messages) }, clock }))
      .use(idempotency({ store: memoryIdempotencyStore({ clock }), clock }))
      .use(retry({ maxAttempts: 3, clock }))
      .use(timeout({ afterMs: 1000, clock }))
      .handle(() => {
        runs++
        throw make()
      })
    const dispatch = () => step.dispatch({ message: { id: 'm1', body: Buffer.from('x') } })
    const first = dispatch()
    await clock.advance(60_000)
    expect(await first).toBe('dead-lettered')
    expect(await dispatch()).toBe('dead-lettered')
    expect(runs).toBe(3)
    expect(letters.map(({ id, body }) => [id, String(body)])).toEqual([
      ['m1', 'x'],
      ['m1', 'x'],
    ])
    expect(letters[0] && readDeadLetter(letters[0])?.metadata.pipeline).toBe('hostile')
    await turn()
    expect(lines.filter((line) => line.startsWith('dead-lettered'))).toHaveLength(2)
  })

  it.each(thrown)('%s: reaches the dead letter where nothing else stands before it', async (_, make) => {
    const letters: Outgoing[] = []
    const step = pipeline('hostile')
      .use(deadLetter({ to: { publish: async (messages) => void letters.push(...messages) } }))
      .handle(() => {
        throw make()
      })
    expect(await step.dispatch({ message: { id: 'm1', body: null } })).toBe('dead-lettered')
    expect(letters).toHaveLength(1)
  })
})
