import { runInNewContext } from 'node:vm'
import { describe, expect, it, vi } from 'vitest'
import {
  AbandonedError,
  attemptsBefore,
  FailedBeforeError,
  failureFrom,
  HoldfastError,
  isAbandoned,
  isFailedBefore,
  isHoldfastError,
  isPermanent,
  isPublishError,
  isRetryLater,
  judge,
  PermanentError,
  PublishError,
  RetryLater,
} from '../../src/core/errors.ts'

const failure = { reason: 'attempts', errorName: 'Error', errorMessage: 'x', attempts: 5 } as const

describe('errors', () => {
  it.each([
    [new PermanentError('m'), 'permanent', 'PermanentError'],
    [new RetryLater(5), 'retry-later', 'RetryLater'],
    [new AbandonedError('m', Promise.resolve()), 'abandoned', 'AbandonedError'],
    [new PublishError('m', []), 'publish-failed', 'PublishError'],
    [new FailedBeforeError('m', failure), 'failed-before', 'FailedBeforeError'],
    [new HoldfastError('timed-out', 'm'), 'timed-out', 'HoldfastError'],
  ])('%o has a code, a name and a stack', (error, code, name) => {
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({ name, code })
    expect(error.stack).toContain('errors.test.ts')
  })

  it('keep their cause', () => {
    const cause = new Error('deeper')
    expect(new PermanentError('m', { cause }).cause).toBe(cause)
    expect(new RetryLater(5, { cause }).cause).toBe(cause)
    expect(new PublishError('m', [], { cause }).cause).toBe(cause)
    expect(new AbandonedError('m', Promise.resolve(), { cause }).cause).toBe(cause)
  })

  it('are known to another copy of the package, in both directions', async () => {
    vi.resetModules()
    const other = await import('../../src/core/errors.ts')
    expect(new other.PermanentError('m')).not.toBeInstanceOf(PermanentError)
    const theirs = [
      new other.PermanentError('m'),
      new other.RetryLater(5),
      new other.AbandonedError('m', Promise.resolve()),
      new other.FailedBeforeError('m', failure),
      new other.PublishError('m', []),
    ]
    const ours = [
      new PermanentError('m'),
      new RetryLater(5),
      new AbandonedError('m', Promise.resolve()),
      new FailedBeforeError('m', failure),
      new PublishError('m', []),
    ]
    const guards = [isPermanent, isRetryLater, isAbandoned, isFailedBefore, isPublishError]
    const otherGuards = [
      other.isPermanent,
      other.isRetryLater,
      other.isAbandoned,
      other.isFailedBefore,
      other.isPublishError,
    ]
    expect(guards.map((guard, at) => guard(theirs[at]))).toEqual(guards.map(() => true))
    expect(otherGuards.map((guard, at) => guard(ours[at]))).toEqual(guards.map(() => true))
  })

  it('stay what they are in a subclass with a name of its own', () => {
    class OrderRejected extends PermanentError {
      constructor() {
        super('the order is rejected')
        this.name = 'OrderRejected'
      }
    }
    class RateLimited extends RetryLater {
      override name = 'RateLimited'
    }
    expect(isPermanent(new OrderRejected())).toBe(true)
    expect(isRetryLater(new RateLimited(5))).toBe(true)
    expect(String(new OrderRejected())).toBe('OrderRejected: the order is rejected')
    expect(failureFrom(new OrderRejected(), 'm1', 1)).toMatchObject({ reason: 'permanent', errorName: 'OrderRejected' })
  })

  it.each([
    undefined,
    null,
    'permanent',
    { name: 'HoldfastError', code: 'permanent' },
    Object.assign(new Error('m'), { name: 'PermanentError', code: 'permanent' }),
    new Error('permanent'),
  ])('are not mistaken for %o', (other) => {
    expect([isHoldfastError(other), isPermanent(other), isRetryLater(other), isAbandoned(other)]).not.toContain(true)
  })

  it('are nothing that was forged or taken apart: what its guard promises would be missing', () => {
    const forged = (code: string, more: object = {}) =>
      Object.assign(new Error('m'), { [Symbol.for('holdfast.error')]: true, code, ...more })
    expect(isRetryLater(forged('retry-later'))).toBe(false)
    expect(isRetryLater(forged('retry-later', { afterMs: '5', holds: 'lane' }))).toBe(false)
    expect(isRetryLater(forged('retry-later', { afterMs: NaN, holds: 'lane' }))).toBe(false)
    expect(isRetryLater(forged('retry-later', { afterMs: 5, holds: 'all' }))).toBe(false)
    expect(isRetryLater(forged('retry-later', { afterMs: 5, holds: 'lane' }))).toBe(true)
    expect(isAbandoned(forged('abandoned'))).toBe(false)
    expect(isAbandoned(forged('abandoned', { settled: {} }))).toBe(false)
    expect(isFailedBefore(forged('failed-before'))).toBe(false)
    expect(isFailedBefore(forged('failed-before', { failure: { reason: 'because' } }))).toBe(false)
    expect(isPublishError(forged('publish-failed'))).toBe(false)
  })

  it('permanent is what can only fail again', () => {
    expect(isPermanent(new PermanentError('m'))).toBe(true)
    expect(isPermanent(new HoldfastError('key-conflict', 'm'))).toBe(true)
    expect(isPermanent(new FailedBeforeError('m', failure))).toBe(true)
    expect(isPermanent(new HoldfastError('timed-out', 'm'))).toBe(false)
    expect(isPermanent(new RetryLater(0))).toBe(false)
  })

  it('B-9: RetryLater says what waits, a single message unless told otherwise', () => {
    expect(new RetryLater(5)).toMatchObject({ afterMs: 5, holds: 'message', message: 'retry later' })
    const open = new RetryLater(5, { holds: 'pipeline', because: 'circuit x is open' })
    expect(open).toMatchObject({ holds: 'pipeline', message: 'circuit x is open' })
  })

  it.each([
    [-5, 0],
    [NaN, 1000],
    [Infinity, 1000],
    [0.5, 0.5],
  ])('RetryLater(%d) waits %d ms', (given, afterMs) => {
    expect(new RetryLater(given).afterMs).toBe(afterMs)
  })
})

describe('what is noted beside an error', () => {
  it('stands beside it, for one message, and leaves the error as it was', () => {
    const error = Object.freeze(new Error('the handler’s own'))
    judge(error, { messageId: 'm1', attempts: 3, reason: 'attempts' })
    expect(attemptsBefore(error, 'm1')).toBe(3)
    expect(attemptsBefore(error, 'm2')).toBe(undefined)
    expect(failureFrom(error, 'm1', 9)).toMatchObject({ reason: 'attempts', attempts: 3 })
    // An error object that a handler throws for every message must not tell one the count of another.
    expect(failureFrom(error, 'm2', 9)).toMatchObject({ reason: 'unhandled', attempts: 9 })
  })

  it('is kept for every message that one error object is thrown for, and for the latest thousand of them', () => {
    const error = new Error('not ready')
    for (let n = 0; n < 1_500; n++) judge(error, { messageId: `m${n}`, attempts: n, reason: 'attempts' })
    expect(attemptsBefore(error, 'm1499')).toBe(1_499)
    expect(attemptsBefore(error, 'm500')).toBe(500)
    expect(attemptsBefore(error, 'm499')).toBe(undefined)
  })

  it('is noted beside a thrown text too, for the message that it was thrown for', () => {
    judge('thrown', { messageId: 'm1', attempts: 3, reason: 'attempts' })
    expect(attemptsBefore('thrown', 'm1')).toBe(3)
    expect(attemptsBefore('another text', 'm1')).toBe(undefined)
    expect(failureFrom('thrown', 'm2', 2)).toEqual({
      reason: 'unhandled',
      errorName: 'string',
      errorMessage: 'thrown',
      attempts: 2,
    })
  })
})

describe('failureFrom()', () => {
  it.each([
    [new PermanentError('m'), 'permanent'],
    [new HoldfastError('key-conflict', 'm'), 'conflict'],
    [new TypeError('m'), 'unhandled'],
    [undefined, 'unhandled'],
  ])('of %o has the reason %s', (error, reason) => {
    expect(failureFrom(error, 'm1', 1).reason).toBe(reason)
  })

  it('keeps name and 1 KB of text, and no stack', () => {
    expect(failureFrom(new RangeError('x'.repeat(5_000)), 'm1', 2)).toEqual({
      reason: 'unhandled',
      errorName: 'RangeError',
      errorMessage: 'x'.repeat(1024),
      attempts: 2,
    })
  })

  it('reads an error of another realm, and an object that is no error', () => {
    const foreign: unknown = runInNewContext('new RangeError("out of stock")')
    expect(foreign).not.toBeInstanceOf(Error)
    expect(failureFrom(foreign, 'm1', 2)).toMatchObject({ errorName: 'RangeError', errorMessage: 'out of stock' })
    expect(failureFrom({ message: 'x' }, 'm1', 2)).toMatchObject({ errorName: 'object', errorMessage: 'x' })
  })

  it('of a message that failed before is what was recorded then', () => {
    expect(failureFrom(new FailedBeforeError('m', failure), 'm1', 1)).toEqual(failure)
  })
})
