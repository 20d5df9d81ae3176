import { queryObjects } from 'node:v8'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { PermanentError, RetryLater } from '../../src/core/errors.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { deadLetter } from '../../src/dead-letter/dead-letter.ts'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import type { ClaimResult, IdempotencyStore } from '../../src/idempotency/store.ts'
import { memorySequenceStore } from '../../src/ordering/memory-sequence-store.ts'
import { retry } from '../../src/retry/retry.ts'
import { postgresIdempotencyCleaner } from '../../src/stores/postgres/idempotency/cleaner.ts'
import { postgresOutboxListener } from '../../src/stores/postgres/outbox/wake-up.ts'
import { fakeClock, type FakeClock } from '../../src/testing/fake-clock.ts'

const leaseMs = 30_000
const never = () => new Promise<never>(() => {})
const message = { message: { id: 'm1', body: null } }
const retryLater = (holds: string, because: RegExp | string): unknown =>
  expect.objectContaining({ code: 'retry-later', holds, message: expect.stringMatching(because) as string })

/** A memory store with some of its calls replaced, and a pipeline on it. */
function orders(faults: (store: IdempotencyStore) => Partial<IdempotencyStore>, handler: () => unknown = () => {}) {
  const clock = fakeClock()
  const memory = memoryIdempotencyStore({ clock })
  const store = { ...memory, ...faults(memory) }
  const built = pipeline<unknown>('orders')
    .use(idempotency({ store, clock, leaseMs }))
    .handle(async () => void (await handler()))
  return { clock, memory, pipeline: built }
}

describe('after a standstill', () => {
  /** Answers come before timers then: the time has passed, and no timer has run yet. */
  function standingStill() {
    const clock = fakeClock()
    let stoodMs = 0
    const late = { ...clock, now: () => clock.now() + stoodMs }
    return { clock: late, standStill: (ms: number) => (stoodMs += ms) }
  }

  it.for([
    ['one message', 1],
    ['a batch', 2],
  ] as const)('I-37: no handler starts under a lease that is over by the clock: %s', async ([, size]) => {
    const { clock, standStill } = standingStill()
    const store = memoryIdempotencyStore({ clock })
    const begin = Promise.withResolvers<void>()
    const started: string[] = []
    const stage = pipeline<unknown>('orders')
      .use(idempotency({ store, clock, leaseMs }))
      .use((next) => async (delivery) => {
        await begin.promise
        return next(delivery)
      })
    const built =
      size === 1
        ? stage.handle(async ({ message: { id } }) => void started.push(id))
        : stage.handleBatch(
            { maxSize: size },
            async (batch) => void started.push(...batch.map((one) => one.message.id)),
          )
    const running = Array.from({ length: size }, (_, at) =>
      built.dispatch({ message: { id: `m${at}`, body: null } }).catch((error: unknown) => error),
    )
    await new Promise(setImmediate)
    standStill(leaseMs)
    begin.resolve()
    for (const ended of await Promise.all(running)) expect(ended).toEqual(retryLater('lane', 'lost'))
    expect(started).toEqual([])
  })

  it('a handler starts that has a moment of its lease left', async () => {
    const { clock, standStill } = standingStill()
    const built = pipeline<unknown>('orders')
      .use(idempotency({ store: memoryIdempotencyStore({ clock }), clock, leaseMs }))
      .use((next) => (delivery) => {
        standStill(leaseMs - 1)
        return next(delivery)
      })
      .handle(async () => {})
    await expect(built.dispatch(message)).resolves.toBe('handled')
  })

  it('nothing is refused that only observes', async () => {
    const { clock, standStill } = standingStill()
    const built = pipeline<unknown>('orders')
      .use(idempotency({ store: memoryIdempotencyStore({ clock }), clock, leaseMs, mode: 'observe' }))
      .use((next) => (delivery) => {
        standStill(leaseMs)
        return next(delivery)
      })
      .handle(async () => {})
    await expect(built.dispatch(message)).resolves.toBe('handled')
  })
})

describe('nothing waits longer than its signal', () => {
  it('a claim without an answer ends with the delivery, and is released when its answer comes after all', async () => {
    const late = Promise.withResolvers<ClaimResult>()
    const stop = new AbortController()
    const { memory, pipeline: built } = orders((store) => ({
      claim: (request) => store.claim(request).then(() => late.promise),
    }))
    const claimed = { scope: 'orders', key: 'm1', owner: 'x', leaseMs, fingerprint: null }
    const running = built.dispatch({ ...message, signal: stop.signal })
    running.catch(() => {})
    await new Promise(setImmediate)
    stop.abort(new Error('SIGTERM'))
    await expect(running).rejects.toEqual(retryLater('message', 'stopped before it was handled'))
    expect((await memory.claim(claimed)).state).toBe('in-progress')
    late.resolve({ state: 'claimed', token: 1n, attempts: 1 })
    await new Promise(setImmediate)
    expect(await memory.claim(claimed)).toMatchObject({ state: 'claimed', attempts: 1 })
  })

  it('a completion without an answer ends a second after the delivery was stopped', async () => {
    const stop = new AbortController()
    const { clock, pipeline: built } = orders(() => ({ complete: never, release: never }))
    const running = built.dispatch({ ...message, signal: stop.signal })
    running.catch(() => {})
    await clock.advance(100)
    stop.abort(new Error('SIGTERM'))
    await clock.advance(999)
    const early = await Promise.race([running.catch(() => 'ended'), Promise.resolve('waits')])
    expect(early).toBe('waits')
    // One for the completion, one for the release.
    await clock.advance(1)
    await clock.advance(1000)
    await expect(running).rejects.toEqual(retryLater('pipeline', 'did not answer'))
  })

  it('a completion without an answer ends with its lease', async () => {
    const { clock, pipeline: built } = orders(() => ({ complete: never, renew: never, release: never }))
    const running = built.dispatch(message)
    running.catch(() => {})
    for (let second = 0; second < 32; second++) await clock.advance(1000)
    await expect(running).rejects.toEqual(retryLater('lane', 'lost'))
  })

  it('the clean-up and the listener end although their database does not answer', async () => {
    const stop = new AbortController()
    const hung = { connect: never, query: never }
    const runs = [
      postgresIdempotencyCleaner(hung).run(stop.signal),
      postgresOutboxListener(hung as never, { poke: () => undefined }).run(stop.signal),
    ]
    stop.abort(new Error('SIGTERM'))
    expect(await Promise.all(runs)).toEqual([undefined, undefined])
  })
})

describe('the lease', () => {
  /** The signal of a handler that never ends. */
  async function signalOf(store: IdempotencyStore, clock: FakeClock): Promise<AbortSignal> {
    const { promise: started, resolve: start } = Promise.withResolvers<AbortSignal>()
    const running = pipeline('orders')
      .use(idempotency({ store, clock, leaseMs }))
      .handle(({ signal }) => {
        start(signal)
        return never()
      })
      .dispatch(message)
    running.catch(() => {})
    return started
  }

  it('is counted from before the claim was sent: the answer may have been on its way for most of it', async () => {
    const clock = fakeClock()
    const memory = memoryIdempotencyStore({ clock })
    const store: IdempotencyStore = {
      ...memory,
      async claim(request) {
        const answer = await memory.claim(request)
        await clock.advance(leaseMs - 3_000)
        return answer
      },
      renew: never,
    }
    const signal = await signalOf(store, clock)
    await clock.advance(2_999)
    expect(signal.aborted).toBe(false)
    // A third of the lease is how often it looks, and this third ends with the lease.
    await clock.advance(1)
    expect(signal.aborted).toBe(true)
  })

  it('is counted from before its renewal was sent: that answer may have been on its way too', async () => {
    const clock = fakeClock()
    const memory = memoryIdempotencyStore({ clock })
    let renewals = 0
    const store: IdempotencyStore = {
      ...memory,
      async renew(held, forMs) {
        if (renewals++ > 0) return never()
        const answer = await memory.renew(held, forMs)
        return new Promise((resolve) => clock.after(15_000, () => resolve(answer)))
      },
    }
    const signal = await signalOf(store, clock)
    // Sent at 10 s and answered at 25 s: the store's lease ends at 40 s.
    await clock.advance(39_999)
    expect(signal.aborted).toBe(false)
    await clock.advance(1)
    expect(signal.aborted).toBe(true)
  })
})

describe('a key that the store cannot keep', () => {
  it('is its message`s own fault: to the dead letter, while the others go on', async () => {
    const dead: string[] = []
    const clock = fakeClock()
    const memory = memoryIdempotencyStore({ clock })
    const store: IdempotencyStore = {
      ...memory,
      claim: (request) =>
        request.key === 'bad' ? Promise.reject(new PermanentError('no such key')) : memory.claim(request),
    }
    const built = pipeline('orders')
      .use(deadLetter({ to: { publish: (all) => Promise.resolve(void dead.push(...all.map(({ id }) => id))) } }))
      .use(idempotency({ store, clock }))
      .handle(() => {})
    expect(await built.dispatch({ message: { id: 'bad', body: null } })).toBe('dead-lettered')
    expect(await built.dispatch({ message: { id: 'good', body: null } })).toBe('handled')
    expect(dead).toEqual(['bad'])
  })
})

describe('an attempt that counts', () => {
  it('gives up a message that breaks its own session every time, over deliveries', async () => {
    let starts = 0
    const dead: string[] = []
    const clock = fakeClock()
    const built = pipeline('orders')
      .use(deadLetter({ to: { publish: (all) => Promise.resolve(void dead.push(...all.map(({ id }) => id))) } }))
      .use(idempotency({ store: memoryIdempotencyStore({ clock }), clock }))
      .use(retry({ maxAttempts: 3, clock }))
      .handle(() => {
        starts++
        throw new RetryLater(0, { holds: 'lane', because: 'the answer to COMMIT was lost', counts: true })
      })
    const outcomes: unknown[] = []
    for (let delivery = 0; delivery < 4; delivery++)
      outcomes.push(await built.dispatch(message).catch((error: RetryLater) => error.code))
    expect(outcomes).toEqual(['retry-later', 'retry-later', 'retry-later', 'dead-lettered'])
    expect([starts, dead]).toEqual([3, ['m1']])
  })
})

describe('the options', () => {
  it('refuse a retention that no store can count', () => {
    const store = memoryIdempotencyStore()
    expect(() => idempotency({ store, retainMs: 1e16 })).toThrow('idempotency: retainMs must be at most')
  })
})

describe('the memory stores', () => {
  it('forget a scope with its last key', async () => {
    const clock = fakeClock()
    const store = memoryIdempotencyStore({ clock, maxKeys: 10 })
    async function pass(scope: string): Promise<void> {
      const claimed = await store.claim({ scope, key: 'k', owner: scope, leaseMs: 1, fingerprint: null })
      if (claimed.state === 'claimed') await store.complete({ scope, key: 'k', token: claimed.token }, 1)
      await clock.advance(2)
    }
    await pass('first')
    const before = queryObjects(Map, { format: 'count' })
    for (let tenant = 0; tenant < 500; tenant++) await pass(`tenant-${tenant}`)
    expect(queryObjects(Map, { format: 'count' }) - before).toBeLessThan(100)
  })

  it('warn once in production', () => {
    const warnings = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
    vi.stubEnv('NODE_ENV', 'production')
    onTestFinished(() => {
      vi.unstubAllEnvs()
      warnings.mockRestore()
    })
    for (let n = 0; n < 3; n++) {
      memoryIdempotencyStore()
      memorySequenceStore()
    }
    expect(warnings.mock.calls.map(([text]) => String(text).split(' ', 1)[0])).toEqual([
      'memoryIdempotencyStore()',
      'memorySequenceStore()',
    ])
  })
})
