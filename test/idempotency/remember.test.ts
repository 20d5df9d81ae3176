import { describe, expect, expectTypeOf, it } from 'vitest'
import type { Delivery } from '../../src/core/delivery.ts'
import { isFailedBefore, isHoldfastError, isPermanent, isRetryLater, PermanentError } from '../../src/core/errors.ts'
import { subscribe } from '../../src/core/events.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { deadLetter } from '../../src/dead-letter/dead-letter.ts'
import { fixedKeys, resultCipher, type KeyProvider } from '../../src/encryption/index.ts'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import {
  remember,
  type Answered,
  type RememberOptions,
  type ResultStore,
} from '../../src/idempotency/remember/index.ts'
import { retry } from '../../src/retry/retry.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { resultStoreContract } from '../../src/testing/contracts/result-store-contract.ts'
import { memoryIdempotencyStore as publishedStore } from '../../src/transports/memory/index.ts'

describe('the result store contract, in memory', () => {
  const create = () => {
    const clock = fakeClock()
    return { store: publishedStore({ clock }), advance: clock.advance }
  }
  for (const { name, run } of resultStoreContract(create)) it(name, run)
})

interface Charge {
  readonly cents: number
}
interface Receipt {
  readonly number: number
  readonly at?: Date
}
type Work = (delivery: Delivery<Charge>) => Promise<Receipt> | Receipt

/** An endpoint that charges, and counts how often. */
function endpoint(
  options: Partial<RememberOptions<Charge, Receipt>> = {},
  store: ResultStore = memoryIdempotencyStore(),
) {
  const state = { charges: 0, work: ((): Receipt => ({ number: state.charges })) as Work }
  const answers = remember<Charge, Receipt>({
    store,
    fingerprint: ({ message }) => JSON.stringify(message.body),
    ...options,
  })
  const payments = pipeline<Charge>('api.payments')
    .use(answers.stage)
    .use(retry({ maxAttempts: 2, backoff: { initialMs: 1 } }))
    .handle(
      answers.handler(async (delivery: Delivery<Charge>) => {
        state.charges += 1
        return state.work(delivery)
      }),
    )
  const call = (id: string, cents = 100): Promise<Answered<Receipt>> =>
    answers.call(payments, { message: { id, body: { cents } } })
  return { state, answers, payments, call, store }
}

async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => expect.fail(`resolved to ${JSON.stringify(value)}`),
    (error: unknown) => error,
  )
}

describe('remember()', () => {
  it('gives a second caller the result of the first, and runs the handler once', async () => {
    const { call, state } = endpoint()
    expect(await call('a')).toEqual({ repeated: false, found: true, result: { number: 1 } })
    expect(await call('a')).toEqual({ repeated: true, found: true, result: { number: 1 } })
    expect(await call('b')).toEqual({ repeated: false, found: true, result: { number: 2 } })
    expect(state.charges).toBe(2)
  })

  it('asks the functions that name a claim once for each delivery', async () => {
    const asked: string[] = []
    const { call } = endpoint({
      key: ({ message }) => (asked.push(`key of ${message.id}`), `key-${message.id}`),
      scope: ({ message }) => (asked.push(`scope of ${message.id}`), 'payments'),
    })
    expect(await call('a')).toMatchObject({ repeated: false, result: { number: 1 } })
    expect(await call('a')).toMatchObject({ repeated: true, result: { number: 1 } })
    expect(asked.toSorted()).toEqual(['key of a', 'key of a', 'scope of a', 'scope of a'])
  })

  it('gives both callers the same, as it went through the codec, and takes no result for a result', async () => {
    const { call, state } = endpoint()
    state.work = () => ({ number: 1, at: new Date(0) })
    const first = await call('a')
    expect(first).toEqual({ repeated: false, found: true, result: { number: 1, at: '1970-01-01T00:00:00.000Z' } })
    expect({ ...(await call('a')), repeated: false }).toEqual(first)
    state.work = () => undefined as never
    expect(await call('nothing')).toEqual({ repeated: false, found: true, result: undefined })
    expect(await call('nothing')).toEqual({ repeated: true, found: true, result: undefined })
  })

  it('remembers an error that is final, and no other', async () => {
    const { call, state } = endpoint()
    state.work = () => {
      throw new PermanentError('the card was declined')
    }
    const first = await errorOf(call('a'))
    expect([isPermanent(first), isFailedBefore(first)]).toEqual([true, false])
    const second = await errorOf(call('a'))
    expect(isFailedBefore(second) && second.failure).toMatchObject({
      reason: 'permanent',
      errorMessage: 'the card was declined',
    })
    expect(state.charges).toBe(1)
    // Out of attempts: the handler would not run again for this message.
    state.work = () => {
      throw new TypeError('a bug')
    }
    expect(await errorOf(call('b'))).toBeInstanceOf(TypeError)
    expect(state.charges).toBe(3)
    const third = await errorOf(call('b'))
    expect(isFailedBefore(third) && third.failure).toMatchObject({ reason: 'attempts', errorName: 'TypeError' })
    expect(state.charges).toBe(3)
  })

  it('runs again after an outage, which nobody is told twice', async () => {
    const { answers } = endpoint()
    let down = true
    const payments = pipeline<Charge>('api.payments')
      .use(answers.stage)
      .handle(
        answers.handler(async () => {
          if (down) throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
          return { number: 7 }
        }),
      )
    const call = () => answers.call(payments, { message: { id: 'a', body: { cents: 1 } } })
    expect(String(await errorOf(call()))).toContain('ECONNREFUSED')
    down = false
    expect(await call()).toEqual({ repeated: false, found: true, result: { number: 7 } })
  })

  it('tells that the same key is in flight, and gives the result afterwards', async () => {
    const { call, state } = endpoint()
    const gate = Promise.withResolvers<void>()
    state.work = async () => {
      await gate.promise
      return { number: 1 }
    }
    const first = call('a')
    const second = await errorOf(call('a'))
    expect(isRetryLater(second) && second.holds).toBe('lane')
    gate.resolve()
    expect(await first).toMatchObject({ repeated: false, result: { number: 1 } })
    expect(await call('a')).toMatchObject({ repeated: true, result: { number: 1 } })
    expect(state.charges).toBe(1)
  })

  it('refuses the same key with another body', async () => {
    const { call, state } = endpoint()
    await call('a', 100)
    const error = await errorOf(call('a', 200))
    expect(isHoldfastError(error) && error.code).toBe('key-conflict')
    expect(state.charges).toBe(1)
  })

  it('keeps of a result that is too large only that, and gives it to the first caller', async () => {
    const { call, state } = endpoint({ maxBytes: 20 })
    state.work = () => ({ number: 1, at: new Date(0) })
    expect(await call('a')).toMatchObject({ repeated: false, found: true })
    expect(await call('a')).toEqual({ repeated: true, found: false, because: 'too-large' })
    expect(state.charges).toBe(1)
  })

  it('says that no result was kept of what was handled without remember()', async () => {
    const store = memoryIdempotencyStore()
    const held = await store.claim({ scope: 'api.payments', key: 'a', owner: 'o', leaseMs: 1000, fingerprint: null })
    if (held.state !== 'claimed') throw new Error(held.state)
    await store.complete({ scope: 'api.payments', key: 'a', token: held.token }, 60_000)
    expect(await endpoint({}, store).call('a')).toEqual({ repeated: true, found: false, because: 'not-kept' })
  })

  it('a store that fails to keep a result fails no call: the effect has happened', async () => {
    const store = memoryIdempotencyStore()
    let fails = 1
    const failing: ResultStore = {
      ...store,
      keepResult: (held, result) => (fails-- > 0 ? Promise.reject(new Error('down')) : store.keepResult(held, result)),
    }
    const failed: string[] = []
    const stop = subscribe('store-failed', ({ operation }) => failed.push(operation))
    const { call } = endpoint({}, failing)
    // Once: it is kept after the completion. Twice: the next caller is told.
    expect(await call('a')).toMatchObject({ found: true })
    expect(await call('a')).toMatchObject({ repeated: true, found: true })
    fails = 2
    expect(await call('b')).toMatchObject({ found: true })
    expect(await call('b')).toEqual({ repeated: true, found: false, because: 'not-kept' })
    stop()
    expect(failed).toEqual(['keep', 'keep', 'keep'])
  })

  it('a result that cannot be encoded is a final error', async () => {
    const { call, state } = endpoint()
    state.work = () => ({ number: 1n }) as never
    const error = await errorOf(call('a'))
    expect(String(error)).toMatch(/the result of message a cannot be encoded: .*BigInt/)
    expect(isFailedBefore(await errorOf(call('a')))).toBe(true)
    expect(state.charges).toBe(1)
  })

  it('a handler that calls another key of its own pipeline keeps the two results apart', async () => {
    const { answers, state, call, payments } = endpoint()
    state.work = async ({ message }) => {
      if (message.id === 'inner') return { number: 2 }
      await payments.dispatch({ message: { id: 'inner', body: { cents: 1 } } })
      const again = await answers.call(payments, { message: { id: 'inner', body: { cents: 1 } } })
      return { number: again.found ? again.result.number * 10 : 0 }
    }
    expect(await call('outer')).toMatchObject({ repeated: false, result: { number: 20 } })
    expect(await call('inner', 1)).toMatchObject({ repeated: true, result: { number: 2 } })
  })

  it('remembers by the key and the scope that idempotency() is told', async () => {
    const { call, state } = endpoint({
      key: ({ message }) => `cents ${message.body.cents}`,
      scope: ({ message }) => (message.id.startsWith('t1') ? 't1' : 't2'),
    })
    await call('t1-a', 5)
    expect(await call('t1-b', 5)).toMatchObject({ repeated: true, result: { number: 1 } })
    expect(await call('t2-a', 5)).toMatchObject({ repeated: false, result: { number: 2 } })
    expect(state.charges).toBe(2)
  })

  it('plain dispatch() has the outcomes of idempotency(), and throws what the handler threw', async () => {
    const { payments, state } = endpoint()
    const message = { id: 'a', body: { cents: 1 } }
    expect(await payments.dispatch({ message })).toBe('handled')
    expect(await payments.dispatch({ message })).toBe('duplicate')
    state.work = () => {
      throw new PermanentError('declined')
    }
    expect(isPermanent(await errorOf(payments.dispatch({ message: { ...message, id: 'b' } })))).toBe(true)
    expect(isFailedBefore(await errorOf(payments.dispatch({ message: { ...message, id: 'b' } })))).toBe(true)
  })

  it('forgets with the key', async () => {
    const clock = fakeClock()
    const { call, state } = endpoint({ clock, retainMs: 60_000 }, memoryIdempotencyStore({ clock }))
    await call('a')
    await clock.advance(60_001)
    expect(await call('a')).toMatchObject({ repeated: false, result: { number: 2 } })
    expect(state.charges).toBe(2)
  })
})

describe('with a cipher', () => {
  const key = Buffer.alloc(32, 7)
  const spied = () => {
    const store = memoryIdempotencyStore()
    const kept: Uint8Array[] = []
    const seen: ResultStore = {
      ...store,
      keepResult: (held, result) => (kept.push(result), store.keepResult(held, result)),
    }
    return { store: seen, kept }
  }

  it('keeps results and errors encrypted, each for its own key', async () => {
    const { store, kept } = spied()
    const cipher = resultCipher({ keys: fixedKeys({ use: 'k1', keys: { k1: key } }) })
    const { call, state } = endpoint({ cipher }, store)
    state.work = ({ message }) => {
      if (message.id === 'b') throw new PermanentError('secret reason')
      return { number: 424242 }
    }
    expect(await call('a')).toMatchObject({ result: { number: 424242 } })
    await errorOf(call('b'))
    expect(kept.map((bytes) => Buffer.from(bytes).toString()).join()).not.toMatch(/424242|secret/)
    expect(await call('a')).toEqual({ repeated: true, found: true, result: { number: 424242 } })
    const again = await errorOf(call('b'))
    expect(isFailedBefore(again) && again.failure.errorMessage).toBe('secret reason')
    // The bytes of one key in the place of another's do not open.
    state.work = () => ({ number: 1 })
    await call('c')
    const [first = new Uint8Array()] = kept
    const claim = await store.claim({ scope: 'other', key: 'x', owner: 'o', leaseMs: 1000, fingerprint: null })
    if (claim.state !== 'claimed') throw new Error(claim.state)
    const held = { scope: 'other', key: 'x', token: claim.token }
    await store.keepResult(held, first)
    await store.complete(held, 60_000)
    const moved = endpoint({ cipher, scope: 'other', fingerprint: false }, store)
    expect(isRetryLater(await errorOf(moved.call('x')))).toBe(true)
    // Without the cipher nobody guesses.
    expect(String(await errorOf(endpoint({}, store).call('a')))).toMatch(/is encrypted: give cipher/)
  })

  it('tells a result whose key was destroyed, and waits while the keys cannot be had', async () => {
    const { store } = spied()
    const state: { answer: Uint8Array | 'destroyed' | 'unknown' | 'down' } = { answer: key }
    const keys: KeyProvider = {
      current: async () => ({ id: 'ada-1', key }),
      byId: async () => {
        if (state.answer === 'down') throw new Error('no answer')
        return state.answer
      },
    }
    const called = () => endpoint({ cipher: resultCipher({ keys, keyCacheMs: 0 }) }, store).call('a')
    await called()
    state.answer = 'down'
    expect(isRetryLater(await errorOf(called()))).toBe(true)
    state.answer = 'unknown'
    expect(isRetryLater(await errorOf(called()))).toBe(true)
    state.answer = 'destroyed'
    expect(await called()).toEqual({ repeated: true, found: false, because: 'erased' })
  })
})

describe('what does not fit together is refused', () => {
  it('a dead letter, a batch, another pipeline, a handler without the stage and a stage without the handler', async () => {
    const { answers, call } = endpoint()
    expect(() =>
      pipeline('p')
        .use(deadLetter({ to: { publish: async () => {} } }))
        .use(remember({ store: memoryIdempotencyStore() }).stage)
        .handle(() => {}),
    ).toThrow(/its caller waits for the result/)
    expect(() =>
      pipeline<Charge>('p')
        .use(answers.stage)
        .handleBatch({ maxSize: 2 }, async () => {}),
    ).toThrow(/handleBatch/)
    const plain = pipeline<Charge>('plain').handle(async () => {})
    expect(String(await errorOf(answers.call(plain, { message: { id: 'a', body: { cents: 1 } } })))).toMatch(
      /'plain' has not the stage/,
    )
    const without = pipeline<Charge>('without')
      .use(answers.stage)
      .handle(async () => {})
    expect(String(await errorOf(answers.call(without, { message: { id: 'a', body: { cents: 1 } } })))).toMatch(
      /give the pipeline 'without' a handler made by handler\(\)/,
    )
    const other = endpoint().answers
    const mixed = pipeline<Charge>('mixed')
      .use(answers.stage)
      .handle(other.handler(async () => ({ number: 1 })))
    expect(await answers.call(mixed, { message: { id: 'm', body: { cents: 1 } } })).toMatchObject({ found: true })
    expect(await call('z')).toMatchObject({ found: true })
  })

  it('types: the result of call() is what the handler returns', () => {
    const { answers } = endpoint()
    expectTypeOf<Awaited<ReturnType<typeof answers.call>>>().toEqualTypeOf<Answered<Receipt>>()
    // @ts-expect-error a handler that returns something else
    answers.handler(async () => 'text')
  })
})
