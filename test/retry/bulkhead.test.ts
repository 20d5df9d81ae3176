import { AsyncLocalStorage } from 'node:async_hooks'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Delivery, Outcome } from '../../src/core/delivery.ts'
import { AbandonedError } from '../../src/core/errors.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { bulkhead, type BulkheadOptions } from '../../src/retry/bulkhead.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { watched, watchUnhandled } from '../support/watch.ts'

interface Running {
  readonly id: string
  readonly end: (error?: Error) => void
}

/** A pipeline whose handlers run until the test ends them. */
function held(options: BulkheadOptions) {
  const running: Running[] = []
  const started: string[] = []
  const step = pipeline<null>('orders')
    .use(bulkhead(options))
    .handle(
      ({ message: { id } }) =>
        new Promise((resolve, reject) => {
          started.push(id)
          const end = (error?: Error): void => {
            running.splice(running.indexOf(one), 1)
            if (error === undefined) resolve(null)
            else reject(error)
          }
          const one = { id, end }
          running.push(one)
        }),
    )
  return {
    running,
    started,
    dispatch: (id: string, signal?: AbortSignal): Promise<Outcome> =>
      step.dispatch({ message: { id, body: null }, ...(signal && { signal }) }),
  }
}

const clock = fakeClock()
const settle = (): Promise<void> => clock.advance(0)

describe('bulkhead()', () => {
  it('lets so many run, and starts the others in the order in which they came', async () => {
    const { dispatch, running, started } = held({ maxConcurrent: 2 })
    const outcomes = ['a', 'b', 'c', 'd'].map((id) => watched(dispatch(id)))
    await settle()
    expect(started).toEqual(['a', 'b'])
    running[1]?.end()
    await settle()
    expect(started).toEqual(['a', 'b', 'c'])
    while (running.length > 0) {
      running[0]?.end()
      await settle()
    }
    expect(started).toEqual(['a', 'b', 'c', 'd'])
    expect(outcomes.map(({ now }) => now.value)).toEqual(['handled', 'handled', 'handled', 'handled'])
  })

  it('runs a handler that waited in its own async context, not in that of the one that left', async () => {
    const context = new AsyncLocalStorage<string>()
    const seen: string[] = []
    const step = pipeline<null>('orders')
      .use(bulkhead({ maxConcurrent: 2 }))
      .handle(async ({ message }) => {
        await settle()
        seen.push(`${message.id} ${context.getStore()}`)
      })
    const ids = Array.from({ length: 20 }, (_, n) => `m${n}`)
    await Promise.all(ids.map((id) => context.run(id, () => step.dispatch({ message: { id, body: null } }))))
    expect(seen).toEqual(ids.map((id) => `${id} ${id}`))
  })

  it('gives the place on when the abort comes just after it was handed over', async () => {
    const { dispatch, running, started } = held({ maxConcurrent: 1 })
    const stop = new AbortController()
    void dispatch('a')
    const waiting = watched(dispatch('b', stop.signal))
    void dispatch('c')
    await settle()
    const first = running[0]
    first?.end()
    await Promise.resolve()
    await Promise.resolve()
    stop.abort(new Error('shutdown'))
    await settle()
    expect(started.filter((id) => id !== 'b')).toEqual(['a', 'c'])
    expect(waiting.now.state).not.toBe('fulfilled')
  })

  it('shares its places between the pipelines that use it', async () => {
    const shared = bulkhead({ maxConcurrent: 1 })
    const started: string[] = []
    const end = Promise.withResolvers<void>()
    const build = (name: string) =>
      pipeline<null>(name)
        .use(shared)
        .handle(() => {
          started.push(name)
          return end.promise
        })
    const outcomes = ['orders', 'refunds'].map((name) => build(name).dispatch({ message: { id: 'm1', body: null } }))
    await settle()
    expect(started).toEqual(['orders'])
    end.resolve()
    expect(await Promise.all(outcomes)).toEqual(['handled', 'handled'])
    expect(started).toEqual(['orders', 'refunds'])
  })

  it('gives the place back when a handler fails', async () => {
    const { dispatch, running, started } = held({ maxConcurrent: 1 })
    const first = watched(dispatch('a'))
    void dispatch('b')
    await settle()
    running[0]?.end(new Error('failed'))
    await settle()
    expect(first.now.error).toMatchObject({ message: 'failed' })
    expect(started).toEqual(['a', 'b'])
  })

  it('keeps the place of a handler that was given up, until it really ends', async () => {
    const { dispatch, running, started } = held({ maxConcurrent: 1 })
    const zombie = Promise.withResolvers<void>()
    const first = watched(dispatch('a'))
    void dispatch('b')
    await settle()
    running[0]?.end(new AbandonedError('gave up', zombie.promise))
    await settle()
    expect(first.now.error).toMatchObject({ code: 'abandoned' })
    expect(started).toEqual(['a'])
    zombie.resolve()
    await settle()
    expect(started).toEqual(['a', 'b'])
  })

  it('hands back what is stopped while it waits, and never starts it', async () => {
    const unhandled = watchUnhandled()
    const { dispatch, running, started } = held({ maxConcurrent: 1 })
    const stop = new AbortController()
    void dispatch('a')
    const waiting = watched(dispatch('b', stop.signal))
    const behind = watched(dispatch('c'))
    await settle()
    stop.abort(new Error('shutdown'))
    await settle()
    expect(waiting.now.error).toMatchObject({ code: 'retry-later', cause: { message: 'shutdown' } })
    expect(watched(dispatch('d', stop.signal)).now.state).toBe('pending')
    running[0]?.end()
    await settle()
    expect(started).toEqual(['a', 'c'])
    running[0]?.end()
    await settle()
    expect(behind.now.value).toBe('handled')
    // The place is free again: the stopped ones took none.
    void dispatch('e')
    expect(started.at(-1)).toBe('e')
    expect(unhandled).toEqual([])
  })

  it('an abort after its start changes nothing for those who wait', async () => {
    const { dispatch, running, started } = held({ maxConcurrent: 1 })
    const stop = new AbortController()
    void dispatch('a')
    void dispatch('b', stop.signal)
    void dispatch('c')
    void dispatch('d')
    running[0]?.end()
    await settle()
    expect(started).toEqual(['a', 'b'])
    stop.abort()
    for (let each = 0; each < 3; each++) {
      running[0]?.end()
      await settle()
    }
    expect(started).toEqual(['a', 'b', 'c', 'd'])
  })

  it('hands back what finds the queue full, as a wait for everybody', async () => {
    const { dispatch, running } = held({ maxConcurrent: 1, maxQueued: 1 })
    void dispatch('a')
    const queued = watched(dispatch('b'))
    const refused = watched(dispatch('c'))
    await settle()
    expect(refused.now.error).toMatchObject({ code: 'retry-later', holds: 'pipeline' })
    running[0]?.end()
    await settle()
    running[0]?.end()
    await settle()
    expect(queued.now.value).toBe('handled')
  })

  it('never runs more than it may, starves nobody and loses no place, in any order of arrivals, ends and aborts', async () => {
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.constant({ do: 'arrive' as const }) },
      { weight: 2, arbitrary: fc.nat().map((at) => ({ do: 'end' as const, at })) },
      { weight: 1, arbitrary: fc.nat().map((at) => ({ do: 'fail' as const, at })) },
      { weight: 1, arbitrary: fc.nat().map((at) => ({ do: 'abort' as const, at })) },
    )
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.array(step, { maxLength: 60 }),
        async (maxConcurrent, steps) => {
          const { dispatch, running, started } = held({ maxConcurrent })
          const arrived: { id: string; stop: AbortController; outcome: ReturnType<typeof watched<Outcome>> }[] = []
          for (const each of steps) {
            if (each.do === 'arrive') {
              const stop = new AbortController()
              const id = String(arrived.length)
              arrived.push({ id, stop, outcome: watched(dispatch(id, stop.signal)) })
            } else if (each.do === 'abort') arrived[each.at % Math.max(1, arrived.length)]?.stop.abort()
            else running[each.at % Math.max(1, running.length)]?.end(each.do === 'fail' ? new Error('x') : undefined)
            await settle()
            const waiting = arrived.filter(
              ({ id, outcome }) => outcome.now.state === 'pending' && !started.includes(id),
            )
            expect(running.length).toBeLessThanOrEqual(maxConcurrent)
            if (waiting.length > 0) expect(running).toHaveLength(maxConcurrent)
          }
          expect(started).toEqual([...started].sort((a, b) => Number(a) - Number(b)))
          while (running.length > 0) {
            running[0]?.end()
            await settle()
          }
          for (const { outcome, stop, id } of arrived) {
            expect(outcome.now.state).not.toBe('pending')
            if (!stop.signal.aborted) expect(started).toContain(id)
          }
        },
      ),
      { numRuns: 150 },
    )
  })

  it('is refused where it lets more run than the pool has connections', () => {
    const transaction = Object.assign(<D extends Delivery>(next: (delivery: D) => Promise<Outcome>) => next, {
      stage: { name: 'transaction', facts: { poolSize: 10 } },
    })
    expect(() =>
      pipeline('orders')
        .use(bulkhead({ maxConcurrent: 11 }))
        .use(transaction)
        .handle(() => {}),
    ).toThrow('bulkhead lets 11 handlers run, but the transaction')
  })

  it.each([
    [{ maxConcurrent: 0 }, 'bulkhead: maxConcurrent must be an integer of at least 1, got 0'],
    [{ maxConcurrent: 2, maxQueued: -1 }, 'bulkhead: maxQueued must be an integer of at least 0, got -1'],
  ])('refuses %j', (options, message) => {
    expect(() => bulkhead(options)).toThrow(message)
  })
})
