import { describe, expect, it } from 'vitest'
import { deadLetter } from '../../src/dead-letter/dead-letter.ts'
import { readDeadLetter } from '../../src/dead-letter/envelope.ts'
import type { Delivery, Outcome } from '../../src/core/delivery.ts'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import type { Bytes } from '../../src/core/message.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import type { Outgoing } from '../../src/core/publisher.ts'
import { circuitBreaker } from '../../src/retry/circuit-breaker.ts'
import { retry, type RetryOptions } from '../../src/retry/retry.ts'
import { timeout } from '../../src/retry/timeout.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { watched } from '../support/watch.ts'

type Handler = (delivery: Delivery<Bytes>) => Promise<unknown> | void

const leaseMs = 30_000

/** Instances that share a store and a dead letter, as processes share their servers. */
function instances(handler: Handler, options: RetryOptions = {}) {
  const clock = fakeClock()
  const store = memoryIdempotencyStore({ clock })
  const letters: Outgoing[] = []
  const to = { publish: (messages: readonly Outgoing[]) => Promise.resolve(void letters.push(...messages)) }
  const attempts: number[] = []
  const instance = () =>
    pipeline('billing.orders')
      .use(deadLetter({ to, clock }))
      .use(idempotency({ store, leaseMs, clock }))
      .use(retry({ clock, backoff: { jitter: 'none' }, ...options }))
      .use(circuitBreaker({ name: 'payment-api', openAfter: 1_000, clock }))
      .use(timeout({ afterMs: 5_000, clock }))
      .handle((delivery) => {
        attempts.push(delivery.attempt)
        return handler(delivery)
      })
  const deliver = (signal?: AbortSignal): Promise<Outcome> =>
    instance().dispatch({ message: { id: 'm1', body: null }, ...(signal && { signal }) })
  const metadata = () => readDeadLetter(letters[0] ?? expect.fail('no dead letter'))?.metadata
  return { clock, attempts, letters, deliver, metadata }
}

const down = (): never => {
  throw new Error('down')
}

describe('attempts under a claim', () => {
  it('I-31: are all under the one claim, which records the final failure with their number', async () => {
    const { clock, attempts, deliver, letters, metadata } = instances(down, { maxAttempts: 3 })
    const outcome = watched(deliver())
    await clock.advance(10_000)
    expect(outcome.now.value).toBe('dead-lettered')
    expect(attempts).toEqual([1, 2, 3])
    expect(metadata()).toMatchObject({ reason: 'attempts', attempts: 3, errorMessage: 'down' })
    // The failure is on record: another instance publishes it again and does not run it.
    expect(await deliver()).toBe('dead-lettered')
    expect(attempts).toHaveLength(3)
    expect(letters.map(({ id }) => id)).toEqual(['m1', 'm1'])
  })

  it('B-6: go on where another instance left off, when waits are handed back', async () => {
    const { clock, attempts, deliver, metadata } = instances(down, { maxAttempts: 4, sleepUpToMs: 0 })
    for (let delivery = 0; delivery < 3; delivery++) {
      const outcome = watched(deliver())
      await clock.advance(0)
      expect(outcome.now.error).toMatchObject({ code: 'retry-later', holds: 'message' })
    }
    expect(await deliver()).toBe('dead-lettered')
    expect(attempts).toEqual([1, 2, 3, 4])
    expect(metadata()).toMatchObject({ reason: 'attempts', attempts: 4 })
  })

  it('B-3: a shutdown during a backoff frees the key at once and keeps the count', async () => {
    const stop = new AbortController()
    const { clock, attempts, deliver } = instances(({ attempt }) => (attempt < 2 ? down() : undefined), {
      backoff: { initialMs: 4_000, jitter: 'none' },
    })
    const stopped = watched(deliver(stop.signal))
    await clock.advance(1_000)
    stop.abort()
    await clock.advance(0)
    expect(stopped.now.error).toMatchObject({ code: 'retry-later' })
    const next = watched(deliver())
    await clock.advance(60_000)
    expect(next.now.value).toBe('handled')
    expect(attempts).toEqual([1, 2])
  })

  it('B-3: an attempt that a shutdown cut short is made again under its own number', async () => {
    const stop = new AbortController()
    const { clock, attempts, deliver } = instances(({ signal }) =>
      attempts.length > 1
        ? undefined
        : new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('cut')))),
    )
    const stopped = watched(deliver(stop.signal))
    await clock.advance(100)
    stop.abort()
    await clock.advance(0)
    expect(stopped.now.error).toMatchObject({ code: 'retry-later' })
    expect(await deliver()).toBe('handled')
    expect(attempts).toEqual([1, 1])
  })

  it('I-20: a message that ends its process every time is dead-lettered after maxAttempts starts', async () => {
    // An instance that dies never settles its claim: the next one waits until the lease is over.
    const { clock, attempts, deliver, metadata } = instances(() => new Promise(() => {}), { maxAttempts: 3 })
    const killed = async (): Promise<void> => {
      // Nobody waits for it any more, and its renewals end with its signal.
      const process = new AbortController()
      void deliver(process.signal).catch(() => {})
      await clock.advance(0)
      process.abort()
      await clock.advance(leaseMs)
    }
    for (let time = 0; time < 3; time++) await killed()
    expect(attempts).toEqual([1, 2, 3])
    const outcome = watched(deliver())
    await clock.advance(leaseMs)
    expect(outcome.now.value).toBe('dead-lettered')
    expect(attempts).toHaveLength(3)
    expect(metadata()).toMatchObject({ reason: 'crashed', attempts: 3 })
  })

  it('B-10: a deaf handler keeps its claim until the lease is over, and is then fenced out', async () => {
    const end = Promise.withResolvers<void>()
    const { clock, attempts, deliver } = instances(() => (attempts.length === 1 ? end.promise : undefined))
    const deaf = watched(deliver())
    await clock.advance(10_000)
    expect(deaf.now.error).toMatchObject({ code: 'abandoned' })
    const early = watched(deliver())
    await clock.advance(0)
    expect(early.now.error).toMatchObject({ code: 'retry-later', holds: 'lane' })
    await clock.advance(leaseMs)
    expect(await deliver()).toBe('handled')
    end.resolve()
    await clock.advance(0)
    expect(await deliver()).toBe('duplicate')
    expect(attempts).toEqual([1, 2])
  })
})
