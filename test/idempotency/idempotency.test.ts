import { describe, expect, it } from 'vitest'
import { staged, type Claimed, type Delivery, type Middleware } from '../../src/core/delivery.ts'
import { AbandonedError, HoldfastError, PermanentError, RetryLater } from '../../src/core/errors.ts'
import { subscribe } from '../../src/core/events.ts'
import { idempotency, type IdempotencyOptions } from '../../src/idempotency/idempotency.ts'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import type { IdempotencyStore } from '../../src/idempotency/store.ts'
import { pipeline, type Pipeline } from '../../src/core/pipeline.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'

type Handler = (delivery: Delivery & Claimed) => Promise<void> | void

const leaseMs = 30_000

/** A stage of that name which does nothing: idempotency() records failures only inside a dead letter. */
const deadLetterOutside: Middleware = staged((next) => next, { name: 'dead-letter' })

interface Setup extends Partial<IdempotencyOptions> {
  readonly recordsFailures?: boolean
}

function orders(
  handler: Handler,
  { recordsFailures = true, clock = fakeClock(), ...options }: Setup = {},
): Pipeline<unknown> {
  const store = options.store ?? memoryIdempotencyStore({ clock })
  const begun = pipeline<unknown>('orders')
  const outer = recordsFailures ? begun.use(deadLetterOutside) : begun
  return outer.use(idempotency({ leaseMs, clock, ...options, store })).handle(handler)
}

const message = (id = 'm1', body: unknown = null) => ({ message: { id, body } })
const retryLater = (holds: string): unknown => expect.objectContaining({ code: 'retry-later', holds })

/** A store whose calls of one operation wait, fail or lose their answer. */
function faulty(store: IdempotencyStore, faults: Partial<IdempotencyStore>): IdempotencyStore {
  return { ...store, ...faults }
}

function gate(): { readonly opened: Promise<void>; open(): void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { opened: promise, open: resolve }
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve()
}

describe('idempotency()', () => {
  it('handles a key once and acks its repeats as duplicates', async () => {
    let effects = 0
    const step = orders(() => void effects++)
    expect(await step.dispatch(message())).toBe('handled')
    expect(await step.dispatch(message())).toBe('duplicate')
    expect(await step.dispatch(message('m2'))).toBe('handled')
    expect(effects).toBe(2)
  })

  it('I-17: fingerprint true waits where bodies never were bytes, instead of taking all of them for the same', async () => {
    const typed = orders(() => {}, { fingerprint: true })
    const error: unknown = await typed.dispatch(message('m1', { n: 1 })).catch((thrown: unknown) => thrown)
    expect(error).toEqual(retryLater('pipeline'))
    expect((error as Error).message).toContain('give a function')
    // A tombstone has a fingerprint of its own.
    expect(await typed.dispatch(message('m2', null))).toBe('handled')
    await expect(typed.dispatch(message('m2', Buffer.from('null')))).rejects.toMatchObject({ code: 'key-conflict' })
    expect(await typed.dispatch(message('m2', null))).toBe('duplicate')
  })

  it('I-1: of two deliveries at once, one runs and the other holds its lane', async () => {
    const { opened, open } = gate()
    let effects = 0
    const step = orders(async () => {
      effects++
      await opened
    })
    const first = step.dispatch(message())
    await settled()
    await expect(step.dispatch(message())).rejects.toEqual(retryLater('lane'))
    open()
    expect(await first).toBe('handled')
    expect(effects).toBe(1)
  })

  it('I-6, I-8: a handler that outlived its lease is locked out, and cannot touch the record of its successor', async () => {
    const serverClock = fakeClock()
    const store = memoryIdempotencyStore({ clock: serverClock })
    const { opened, open } = gate()
    const runs: string[] = []
    // A's own clock stands still, as if its process were stopped: it never renews.
    const a = orders(
      async () => {
        runs.push('A')
        await opened
      },
      { store, clock: fakeClock() },
    )
    const b = orders(() => void runs.push('B'), { store, clock: serverClock })
    const late = a.dispatch(message())
    await settled()
    await serverClock.advance(leaseMs + 1)
    expect(await b.dispatch(message())).toBe('handled')
    open()
    await expect(late).rejects.toEqual(retryLater('lane'))
    expect(await b.dispatch(message())).toBe('duplicate')
    expect(runs).toEqual(['A', 'B'])
  })

  it('I-7: the fence grows with every claim of a key', async () => {
    const fences: bigint[] = []
    const step = orders(({ fence }) => {
      fences.push(fence)
      if (fences.length < 3) throw new RetryLater(10)
    })
    await expect(step.dispatch(message())).rejects.toThrow()
    await expect(step.dispatch(message())).rejects.toThrow()
    await step.dispatch(message())
    const [first = 0n, second = 0n, third = 0n] = fences
    expect(first < second && second < third).toBe(true)
  })

  it('I-9: renews the lease of a long handler at every third, so nobody takes it over', async () => {
    const clock = fakeClock()
    const store = memoryIdempotencyStore({ clock })
    const { opened, open } = gate()
    let aborted = false
    const step = orders(
      async ({ signal }) => {
        await opened
        aborted = signal.aborted
      },
      { store, clock },
    )
    const running = step.dispatch(message())
    await settled()
    for (let third = 0; third < 12; third++) await clock.advance(leaseMs / 3)
    await expect(step.dispatch(message())).rejects.toEqual(retryLater('lane'))
    open()
    expect(await running).toBe('handled')
    expect(aborted).toBe(false)
  })

  it('I-12: a crash blocks the key for one lease, not for the retention', async () => {
    const clock = fakeClock()
    const store = memoryIdempotencyStore({ clock })
    const dead = orders(() => new Promise(() => {}), { store, clock: fakeClock() })
    void dead.dispatch(message())
    await settled()
    const step = orders(() => {}, { store, clock })
    await expect(step.dispatch(message())).rejects.toEqual(retryLater('lane'))
    await clock.advance(leaseMs + 1)
    expect(await step.dispatch(message())).toBe('handled')
  })

  it('I-10: the fingerprint outlives the completion, so that the same message stays a duplicate', async () => {
    const step = orders(() => {}, { fingerprint: true })
    const body = Buffer.from('{"a":1}')
    expect(await step.dispatch(message('m1', body))).toBe('handled')
    expect(await step.dispatch(message('m1', Buffer.from('{"a":1}')))).toBe('duplicate')
  })

  it('I-17: refuses a known key with another payload', async () => {
    const step = orders(() => {}, { fingerprint: true })
    const conflicts: string[] = []
    const stop = subscribe('conflict-seen', ({ delivery }) => conflicts.push(delivery.message.id))
    await step.dispatch(message('m1', Buffer.from('100')))
    await expect(step.dispatch(message('m1', Buffer.from('999')))).rejects.toMatchObject({ code: 'key-conflict' })
    stop()
    expect(conflicts).toEqual(['m1'])
  })

  it('I-18, I-27: a failure that may pass leaves the key free', async () => {
    let runs = 0
    const step = orders(
      () => {
        if (++runs === 1) throw new Error('passing')
      },
      { recordsFailures: false },
    )
    await expect(step.dispatch(message())).rejects.toThrow('passing')
    expect(await step.dispatch(message())).toBe('handled')
  })

  it('records a final failure only where a dead letter takes it, and then never runs the handler again', async () => {
    let runs = 0
    const failing = () => {
      runs++
      throw new PermanentError('no such customer')
    }
    const recorded = orders(failing)
    await expect(recorded.dispatch(message())).rejects.toMatchObject({ code: 'permanent' })
    await expect(recorded.dispatch(message())).rejects.toMatchObject({
      code: 'failed-before',
      failure: { reason: 'permanent', errorMessage: 'no such customer', attempts: 1 },
    })
    expect(runs).toBe(1)
    const unrecorded = orders(failing, { recordsFailures: false })
    await expect(unrecorded.dispatch(message())).rejects.toMatchObject({ code: 'permanent' })
    await expect(unrecorded.dispatch(message())).rejects.toMatchObject({ code: 'permanent' })
    expect(runs).toBe(3)
  })

  it('I-20: a claim that never ended counts as an attempt; a deferral does not', async () => {
    const clock = fakeClock()
    const store = memoryIdempotencyStore({ clock })
    const attempts: number[] = []
    const dead = orders(
      ({ attempt }) => {
        attempts.push(attempt)
        return new Promise(() => {})
      },
      { store, clock: fakeClock() },
    )
    for (let kill = 0; kill < 3; kill++) {
      void dead.dispatch(message())
      await settled()
      await clock.advance(leaseMs + 1)
    }
    const deferring = orders(
      ({ attempt }) => {
        attempts.push(attempt)
        throw new RetryLater(5)
      },
      { store, clock },
    )
    await expect(deferring.dispatch(message())).rejects.toThrow()
    await expect(deferring.dispatch(message())).rejects.toThrow()
    expect(attempts).toEqual([1, 2, 3, 4, 4])
  })

  it('I-24: the same message in two pipelines is two pieces of work', async () => {
    const clock = fakeClock()
    const store = memoryIdempotencyStore({ clock })
    const ran: string[] = []
    for (const name of ['billing', 'shipping'])
      await pipeline<unknown>(name)
        .use(idempotency({ store, clock }))
        .handle(() => void ran.push(name))
        .dispatch(message())
    expect(ran).toEqual(['billing', 'shipping'])
  })

  it('I-26: a store that is down holds the pipeline and runs nothing', async () => {
    let runs = 0
    const down = { claim: () => Promise.reject(new Error('connection refused')) }
    const clock = fakeClock()
    const store = faulty(memoryIdempotencyStore({ clock }), down)
    const failures: string[] = []
    const stop = subscribe('store-failed', ({ operation }) => failures.push(operation))
    await expect(orders(() => void runs++, { store }).dispatch(message())).rejects.toEqual(retryLater('pipeline'))
    stop()
    expect(runs).toBe(0)
    expect(failures).toEqual(['claim'])
    expect(await orders(() => void runs++, { store, onStoreError: 'fail-open' }).dispatch(message())).toBe('handled')
    expect(runs).toBe(1)
  })

  it('I-26: a missing schema is never taken for an outage that fails open', async () => {
    const broken = { claim: () => Promise.reject(new HoldfastError('bad-schema', 'run migrate(pool)')) }
    const store = faulty(memoryIdempotencyStore({ clock: fakeClock() }), broken)
    const step = orders(() => {}, { store, onStoreError: 'fail-open' })
    await expect(step.dispatch(message())).rejects.toEqual(retryLater('pipeline'))
  })

  it('I-19: completes again while the store is down, and acks only once it answered', async () => {
    const clock = fakeClock()
    const memory = memoryIdempotencyStore({ clock })
    let calls = 0
    const complete: IdempotencyStore['complete'] = (held, retainMs) =>
      ++calls < 4 ? Promise.reject(new Error('down')) : memory.complete(held, retainMs)
    const step = orders(() => {}, { store: faulty(memory, { complete }), clock })
    const running = step.dispatch(message())
    for (let turn = 0; turn < 20; turn++) await clock.advance(100)
    expect(await running).toBe('handled')
    expect(calls).toBe(4)
  })

  it('gives up completing when the lease is over, and holds the pipeline', async () => {
    const clock = fakeClock()
    const down = () => Promise.reject(new Error('down'))
    const store = faulty(memoryIdempotencyStore({ clock }), { complete: down, renew: down })
    const running = orders(() => {}, { store, clock }).dispatch(message())
    running.catch(() => {})
    for (let second = 0; second < 31; second++) await clock.advance(1000)
    await expect(running).rejects.toEqual(retryLater('pipeline'))
  })

  it('I-29: a completion that another claim overtook hands the message back, and the next claim knows', async () => {
    const clock = fakeClock()
    const memory = memoryIdempotencyStore({ clock })
    // The first completion is applied, but its answer is lost; sent again, the store says lost.
    let first = true
    const complete: IdempotencyStore['complete'] = async (held, retainMs) => {
      const answer = await memory.complete(held, retainMs)
      if (!first) return answer
      first = false
      throw new Error('the answer was lost')
    }
    const step = orders(() => {}, { store: faulty(memory, { complete }), clock })
    const running = step.dispatch(message())
    running.catch(() => {})
    for (let turn = 0; turn < 5; turn++) await clock.advance(50)
    await running.catch((error: unknown) => expect(error).toEqual(retryLater('lane')))
    expect(await step.dispatch(message())).toBe('duplicate')
  })

  it('I-34: an abort that arrives while the claim travels keeps the handler from starting, and frees the key', async () => {
    const clock = fakeClock()
    const memory = memoryIdempotencyStore({ clock })
    const stopping = new AbortController()
    const claim: IdempotencyStore['claim'] = async (request) => {
      const answer = await memory.claim(request)
      stopping.abort(new Error('shutdown'))
      return answer
    }
    let runs = 0
    const step = orders(() => void runs++, { store: faulty(memory, { claim }), clock })
    await expect(step.dispatch({ ...message(), signal: stopping.signal })).rejects.toEqual(retryLater('message'))
    expect(runs).toBe(0)
    expect(await orders(() => void runs++, { store: memory, clock }).dispatch(message())).toBe('handled')
  })

  it('I-34: an answer that took longer than the lease starts nothing', async () => {
    const clock = fakeClock()
    const memory = memoryIdempotencyStore({ clock })
    const claim: IdempotencyStore['claim'] = async (request) => {
      const answer = await memory.claim(request)
      await clock.advance(leaseMs)
      return answer
    }
    let runs = 0
    const step = orders(() => void runs++, { store: faulty(memory, { claim }), clock })
    await expect(step.dispatch(message())).rejects.toEqual(retryLater('lane'))
    expect(runs).toBe(0)
  })

  it.each([
    ['never comes', () => new Promise<never>(() => {})],
    ['is an error', () => Promise.reject(new Error('down'))],
  ])('I-35: a renewal whose answer %s aborts the handler when the lease is over', async (_, renew) => {
    const clock = fakeClock()
    const store = faulty(memoryIdempotencyStore({ clock }), { renew })
    const aborts: unknown[] = []
    const running = orders(
      ({ signal }) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => {
            aborts.push(signal.reason)
            reject(new Error('stopped'))
          })
        }),
      { store, clock },
    ).dispatch(message())
    running.catch(() => {})
    await settled()
    await clock.advance(leaseMs - 1)
    expect(aborts).toEqual([])
    await clock.advance(1)
    await expect(running).rejects.toEqual(retryLater('lane'))
    expect(aborts).toEqual([retryLater('lane')])
  })

  it('I-21: a process that slept through its lease aborts the handler when it wakes', async () => {
    const fake = fakeClock()
    let sleptMs = 0
    const clock = { ...fake, now: () => fake.now() + sleptMs }
    let reason: unknown
    const running = orders(
      ({ signal }) =>
        new Promise((resolve) =>
          signal.addEventListener('abort', () => {
            reason = signal.reason
            resolve()
          }),
        ),
      { store: memoryIdempotencyStore({ clock }), clock },
    ).dispatch(message())
    running.catch(() => {})
    await settled()
    // A blocked event loop: the time is gone before the first timer runs.
    sleptMs = 2 * leaseMs
    await fake.advance(leaseMs / 3)
    expect(reason).toEqual(retryLater('lane'))
    await running.catch(() => {})
  })

  it('I-36: a claim whose answer was lost holds the pipeline and is never final', async () => {
    const clock = fakeClock()
    const memory = memoryIdempotencyStore({ clock })
    let lost = false
    const claim: IdempotencyStore['claim'] = async (request) => {
      const answer = await memory.claim(request)
      if (lost) return answer
      lost = true
      throw new Error('the answer was lost')
    }
    const step = orders(() => {}, { store: faulty(memory, { claim }), clock })
    await expect(step.dispatch(message())).rejects.toEqual(retryLater('pipeline'))
    await expect(step.dispatch(message())).rejects.toEqual(retryLater('lane'))
    await clock.advance(leaseMs + 1)
    expect(await step.dispatch(message())).toBe('handled')
  })

  it('B-10: an abandoned handler keeps its claim until the lease lapses, and is not renewed', async () => {
    const clock = fakeClock()
    const store = memoryIdempotencyStore({ clock })
    const abandoning = orders(() => Promise.reject(new AbandonedError('deaf', new Promise(() => {}))), { store, clock })
    await expect(abandoning.dispatch(message())).rejects.toMatchObject({ code: 'abandoned' })
    const step = orders(() => {}, { store, clock })
    await expect(step.dispatch(message())).rejects.toEqual(retryLater('lane'))
    await clock.advance(leaseMs + 1)
    expect(await step.dispatch(message())).toBe('handled')
  })

  it('hands a key back at once on shutdown, whatever the handler threw', async () => {
    const clock = fakeClock()
    const store = memoryIdempotencyStore({ clock })
    const stopping = new AbortController()
    const step = orders(
      ({ signal }) =>
        new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(new Error('stopped')))),
      { store, clock },
    )
    const running = step.dispatch({ ...message(), signal: stopping.signal })
    running.catch(() => {})
    await settled()
    stopping.abort()
    await expect(running).rejects.toThrow('stopped')
    expect(await orders(() => {}, { store, clock }).dispatch(message())).toBe('handled')
  })

  it('does not start what is already aborted', async () => {
    let runs = 0
    const step = orders(() => void runs++)
    await expect(step.dispatch({ ...message(), signal: AbortSignal.abort() })).rejects.toEqual(retryLater('message'))
    expect(runs).toBe(0)
  })

  it('observe mode counts duplicates and suppresses nothing', async () => {
    let effects = 0
    const seen: boolean[] = []
    const stop = subscribe('duplicate-seen', ({ suppressed }) => seen.push(suppressed))
    const step = orders(() => void effects++, { mode: 'observe' })
    await step.dispatch(message())
    expect(await step.dispatch(message())).toBe('handled')
    stop()
    expect(effects).toBe(2)
    expect(seen).toEqual([false])
  })

  it('observe mode handles while the store is down', async () => {
    const down = () => Promise.reject(new Error('down'))
    const store = faulty(memoryIdempotencyStore({ clock: fakeClock() }), { claim: down })
    expect(await orders(() => {}, { store, mode: 'observe' }).dispatch(message())).toBe('handled')
  })

  it.each([
    [{ leaseMs: 0 }, 'idempotency: leaseMs must be a number of ms of at least 3, got 0'],
    [{ leaseMs: NaN }, 'idempotency: leaseMs must be a number of ms of at least 3, got NaN'],
    [{ retainMs: 100 }, 'idempotency: retainMs must be at least leaseMs (30000), got 100'],
    [{ scope: '' }, "idempotency: scope must be a text that is not empty or a function, got ''"],
  ])('refuses %o when the pipeline is built', (options, problem) => {
    expect(() => orders(() => {}, options)).toThrow(problem)
  })

  it('refuses a store that is none', () => {
    // @ts-expect-error a store has five methods
    expect(() => idempotency({ store: {} })).toThrow(
      'idempotency: store must be an object with claim(), renew(), complete(), release(), fail(), got an object',
    )
  })

  it('takes a key that is missing or empty for a mistake of the message, not for a common key', async () => {
    const step = orders(() => {}, { key: () => '' })
    await expect(step.dispatch(message())).rejects.toMatchObject({ code: 'permanent' })
  })
})
