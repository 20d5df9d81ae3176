import { describe, expect, it } from 'vitest'
import { deadLetter } from '../../src/dead-letter/dead-letter.ts'
import { staged, type Middleware } from '../../src/core/delivery.ts'
import { PermanentError } from '../../src/core/errors.ts'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import { headersFrom } from '../../src/core/message.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import type { Outgoing } from '../../src/core/publisher.ts'
import { bulkhead } from '../../src/retry/bulkhead.ts'
import { circuitBreaker } from '../../src/retry/circuit-breaker.ts'
import { retry } from '../../src/retry/retry.ts'
import { timeout } from '../../src/retry/timeout.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { watch, watchUnhandled } from '../support/watch.ts'
import { setImmediate as turn } from 'node:timers/promises'

/** Throws before it returns a promise, as a stage does that reads a header which is not there. */
const needsTenant: Middleware = (next) => (delivery) => {
  if (!('tenant' in delivery.message.headers)) throw new Error('no tenant')
  return next(delivery)
}
const strict = staged(needsTenant, { name: 'tenant' })

const message = (id: string, headers = headersFrom([])) => ({ message: { id, body: null, headers } })

describe("a user's own stage that throws before it returns a promise", () => {
  it('rejects, and does not throw at the caller', async () => {
    const step = pipeline('orders')
      .use(strict)
      .handle(() => {})
    await expect((async () => step.dispatch(message('m1')))()).rejects.toThrow('no tenant')
    let inPlace: unknown
    try {
      await step.dispatch(message('m1')).catch(() => {})
    } catch (error) {
      inPlace = error
    }
    expect(inPlace).toBeUndefined()
  })

  it('is dead-lettered like any other failure', async () => {
    const letters: Outgoing[] = []
    const step = pipeline('orders')
      .use(deadLetter({ to: { publish: async (messages) => void letters.push(...messages) } }))
      .use(strict)
      .handle(() => {})
    expect(await step.dispatch(message('m1'))).toBe('dead-lettered')
    expect(letters).toHaveLength(1)
  })

  it('is retried like any other failure', async () => {
    const clock = fakeClock()
    const attempts = watch('attempt-failed')
    const step = pipeline('orders')
      .use(retry({ maxAttempts: 3, clock }))
      .use(strict)
      .handle(() => {})
    const done = expect(step.dispatch(message('m1'))).rejects.toThrow('no tenant')
    await clock.advance(60_000)
    await done
    expect(attempts).toHaveLength(3)
  })

  it('keeps no place in a bulkhead, counts for a circuit, and leaves no deadline behind', async () => {
    const clock = fakeClock()
    const circuit = circuitBreaker({ name: 'api', openAfter: 3, looksDown: () => true, clock, random: () => 0.5 })
    const abandoned = watch('abandoned')
    const step = pipeline('orders')
      .use(circuit)
      .use(bulkhead({ maxConcurrent: 1 }))
      .use(timeout({ afterMs: 1000, clock }))
      .use(strict)
      .handle(() => {})
    const ok = headersFrom([['tenant', 'a']])
    const failing = (id: string) =>
      expect(step.dispatch(message(id))).rejects.toMatchObject({ cause: { message: 'no tenant' } })
    for (const id of ['m1', 'm2']) await failing(id)
    expect(await step.dispatch(message('m3', ok))).toBe('handled')
    for (const id of ['m4', 'm5', 'm6']) await failing(id)
    expect(circuit.state).toBe('open')
    await clock.advance(5000)
    expect(abandoned).toEqual([])
  })

  it('does not touch the message that left the bulkhead before it', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const step = pipeline('orders')
      .use(bulkhead({ maxConcurrent: 1 }))
      .use(strict)
      .handle(() => promise)
    const first = step.dispatch(message('m1', headersFrom([['tenant', 'a']])))
    const second = step.dispatch(message('m2'))
    const rejected = expect(second).rejects.toThrow('no tenant')
    resolve()
    expect(await first).toBe('handled')
    await rejected
  })
})

describe('functions that idempotency() is given', () => {
  function orders(options: Partial<Parameters<typeof idempotency>[0]>) {
    const letters: Outgoing[] = []
    let runs = 0
    const step = pipeline('orders')
      .use(deadLetter({ to: { publish: async (messages) => void letters.push(...messages) } }))
      .use(idempotency({ store: memoryIdempotencyStore(), ...options }))
      .handle(() => void runs++)
    return { step, letters, runs: () => runs }
  }
  const fails = (): never => {
    throw new PermanentError('the tombstone has no order')
  }

  it.each([
    ['key', { key: fails }],
    ['scope', { scope: fails }],
    ['fingerprint', { fingerprint: fails }],
    ['fingerprint, failing open', { fingerprint: fails, onStoreError: 'fail-open' as const }],
  ])('%s: an error of it is one of the message, not an outage of the store', async (_, options) => {
    const outages = watch('store-failed')
    const { step, letters, runs } = orders(options)
    expect(await step.dispatch(message('m1'))).toBe('dead-lettered')
    expect(outages).toEqual([])
    expect(letters).toHaveLength(1)
    expect(runs()).toBe(0)
  })
})

describe('rejections', () => {
  it('none is left unhandled, whatever ends a delivery', async () => {
    const unhandled = watchUnhandled()
    const clock = fakeClock()
    const store = memoryIdempotencyStore({ clock })
    const down = () => Promise.reject(new Error('down'))
    for (const broken of [
      {},
      { claim: down },
      { complete: down },
      { release: down },
      { fail: down },
      { renew: down },
    ]) {
      for (const fault of ['none', 'throws', 'hangs', 'stops']) {
        const stop = new AbortController()
        const step = pipeline('orders')
          .use(deadLetter({ to: { publish: fault === 'throws' ? down : () => Promise.resolve() }, clock }))
          .use(idempotency({ store: { ...store, ...broken }, leaseMs: 30, retainMs: 1e9, clock }))
          .use(retry({ maxAttempts: 2, clock }))
          .use(circuitBreaker({ name: 'api', openAfter: 100, clock }))
          .use(bulkhead({ maxConcurrent: 1 }))
          .use(timeout({ afterMs: 100, abandonAfterMs: 50, clock }))
          .handle(async ({ signal }) => {
            if (fault === 'throws') throw new Error('no')
            if (fault === 'hangs') await new Promise(() => {})
            if (fault === 'stops')
              await new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('aborted'))))
          })
        const id = `${Object.keys(broken).join()}-${fault}`
        const both = [id, `${id}-2`].map((each) =>
          step.dispatch({ ...message(each), signal: stop.signal }).then(undefined, () => 'nacked'),
        )
        await clock.advance(40)
        if (fault === 'stops') stop.abort(new Error('SIGTERM'))
        await clock.advance(120_000)
        expect(await Promise.race([both[0], turn('pending')])).not.toBe('pending')
      }
    }
    for (let each = 0; each < 5; each++) await turn()
    expect(unhandled).toEqual([])
  })
})
