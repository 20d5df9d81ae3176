import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Delivery, Outcome } from '../../src/core/delivery.ts'
import { staged, type Middleware } from '../../src/core/delivery.ts'
import type { BatchHandler, BatchOptions } from '../../src/core/batch.ts'
import { PermanentError } from '../../src/core/errors.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { retry } from '../../src/retry/retry.ts'
import { watched, watchUnhandled } from '../support/watch.ts'

type One = Delivery<string>

function batches(options: BatchOptions, handler: BatchHandler<One> = () => Promise.resolve()) {
  const seen: string[][] = []
  const step = pipeline<string>('orders').handleBatch(options, (deliveries) => {
    seen.push(deliveries.map(({ message: { id } }) => id))
    return handler(deliveries)
  })
  const dispatch = (id: string, key: string | null = null, signal?: AbortSignal): Promise<Outcome> =>
    step.dispatch({ message: { id, key, body: '' }, ...(signal && { signal }) })
  return { seen, dispatch }
}

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

describe('handleBatch()', () => {
  it('calls the handler as soon as a batch is full', async () => {
    const { seen, dispatch } = batches({ maxSize: 3, maxWaitMs: 1_000 })
    const outcomes = await Promise.all(['a', 'b', 'c'].map((id) => dispatch(id)))
    expect(outcomes).toEqual(['handled', 'handled', 'handled'])
    expect(seen).toEqual([['a', 'b', 'c']])
  })

  it('calls it with what there is when the first has waited long enough', async () => {
    const { seen, dispatch } = batches({ maxSize: 100, maxWaitMs: 20 })
    const outcome = watched(dispatch('a'))
    await vi.advanceTimersByTimeAsync(10)
    void dispatch('b')
    await vi.advanceTimersByTimeAsync(9)
    expect(seen).toEqual([])
    await vi.advanceTimersByTimeAsync(1)
    expect(seen).toEqual([['a', 'b']])
    expect(outcome.now.value).toBe('handled')
  })

  it('has at most one message of a key in a batch, in the order in which they came', async () => {
    const { seen, dispatch } = batches({ maxSize: 4, maxWaitMs: 20 })
    const outcomes = ['a1', 'b1', 'a2', 'a3'].map((id) => watched(dispatch(id, id[0])))
    const without = ['x', 'y'].map((id) => watched(dispatch(id, null)))
    await vi.advanceTimersByTimeAsync(100)
    expect(seen.flat().sort()).toEqual(['a1', 'a2', 'a3', 'b1', 'x', 'y'])
    for (const batch of seen) expect(batch.filter((id) => id.startsWith('a')).length).toBeLessThanOrEqual(1)
    expect(seen.flat().filter((id) => id.startsWith('a'))).toEqual(['a1', 'a2', 'a3'])
    for (const { now } of [...outcomes, ...without]) expect(now.value).toBe('handled')
  })

  it('settles each message by itself', async () => {
    const unhandled = watchUnhandled()
    const error = new PermanentError('negative')
    const { dispatch } = batches({ maxSize: 3 }, (deliveries) =>
      Promise.resolve(deliveries.filter(({ message }) => message.id === 'b').map((delivery) => ({ delivery, error }))),
    )
    const [a, b, c] = ['a', 'b', 'c'].map((id) => watched(dispatch(id)))
    await vi.advanceTimersByTimeAsync(0)
    expect([a?.now.value, b?.now.error, c?.now.value]).toEqual(['handled', error, 'handled'])
    expect(unhandled).toEqual([])
  })

  it.each([
    ['rejects', () => Promise.reject(new Error('all'))],
    [
      'throws',
      () => {
        throw new Error('all')
      },
    ],
  ])('fails all where the handler %s', async (_, handler) => {
    const { dispatch } = batches({ maxSize: 2 }, handler)
    const outcomes = ['a', 'b'].map((id) => watched(dispatch(id)))
    await vi.advanceTimersByTimeAsync(0)
    for (const { now } of outcomes) expect(now.error).toMatchObject({ message: 'all' })
  })

  it('lets each message keep its own retries', async () => {
    vi.useRealTimers()
    const attempts: string[] = []
    const orders = pipeline<string>('orders')
      .use(retry({ maxAttempts: 3, backoff: { initialMs: 0 } }))
      .handleBatch({ maxSize: 2, maxWaitMs: 1 }, (deliveries) => {
        attempts.push(...deliveries.map(({ message, attempt }) => `${message.id}${attempt}`))
        const failed = deliveries.filter(({ message, attempt }) => message.id === 'b' && attempt < 3)
        return Promise.resolve(failed.map((delivery) => ({ delivery, error: new Error('again') })))
      })
    const outcomes = ['a', 'b'].map((id) => orders.dispatch({ message: { id, body: '' } }))
    expect(await Promise.all(outcomes)).toEqual(['handled', 'handled'])
    expect(attempts.sort()).toEqual(['a1', 'b1', 'b2', 'b3'])
  })

  it('I-34: a delivery that is stopped while it waits is handed back and not started', async () => {
    const { seen, dispatch } = batches({ maxSize: 100, maxWaitMs: 20 })
    const stop = new AbortController()
    const stopped = watched(dispatch('a', null, stop.signal))
    const other = watched(dispatch('b'))
    stop.abort(new Error('shutdown'))
    await vi.advanceTimersByTimeAsync(20)
    expect(stopped.now.error).toMatchObject({ code: 'retry-later', cause: { message: 'shutdown' } })
    expect(other.now.value).toBe('handled')
    expect(seen).toEqual([['b']])
  })

  it('is refused inside a transaction, which each message would need for itself', () => {
    const transaction: Middleware = staged((next) => next, { name: 'transaction' })
    expect(() =>
      pipeline('orders')
        .use(transaction)
        .handleBatch({ maxSize: 2 }, () => Promise.resolve()),
    ).toThrow('orders: batch must not stand inside transaction: the handler is called once for many messages')
  })

  it.each([
    [{ maxSize: 0 }, 'handleBatch: maxSize must be an integer of at least 1, got 0'],
    [{ maxSize: 2, maxWaitMs: -1 }, 'handleBatch: maxWaitMs must be a number of ms of at least 0, got -1'],
  ])('refuses %j', (options, message) => {
    expect(() => batches(options)).toThrow(message)
  })
})
