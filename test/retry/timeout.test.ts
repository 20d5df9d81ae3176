import { describe, expect, it } from 'vitest'
import type { Delivery, Incoming, Outcome } from '../../src/core/delivery.ts'
import { AbandonedError, HoldfastError, PermanentError, RetryLater } from '../../src/core/errors.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { retry } from '../../src/retry/retry.ts'
import { timeout, type TimeoutOptions } from '../../src/retry/timeout.ts'
import { fakeClock, type FakeClock } from '../../src/testing/fake-clock.ts'
import { watch, watched, watchUnhandled } from '../support/watch.ts'

type Handler = (delivery: Delivery<null>, clock: FakeClock) => Promise<unknown> | void

function orders(handler: Handler, options: Partial<TimeoutOptions> = {}) {
  const clock = fakeClock()
  const step = pipeline<null>('orders')
    .use(timeout({ afterMs: 1_000, clock, ...options }))
    .handle((delivery) => handler(delivery, clock))
  return {
    clock,
    dispatch: (incoming?: Partial<Incoming<null>>): Promise<Outcome> =>
      step.dispatch({ message: { id: 'm1', body: null }, ...incoming }),
  }
}

/** Does what its signal says, with an error of its own. */
const obedient =
  (error: unknown): Handler =>
  ({ signal }) =>
    new Promise((_, reject) => signal.addEventListener('abort', () => reject(error)))

/** Takes its time, whatever its signal says. */
const deaf =
  (ms: number, end: () => unknown = () => 'done'): Handler =>
  (_, clock) =>
    new Promise((resolve, reject) => {
      clock.after(ms, () => {
        try {
          resolve(end())
        } catch (error) {
          reject(error)
        }
      })
    })

describe('timeout()', () => {
  it('changes nothing for a handler that is in time', async () => {
    const { dispatch, clock } = orders(deaf(999))
    const outcome = watched(dispatch())
    await clock.advance(999)
    expect(outcome.now.value).toBe('handled')
  })

  it("aborts the attempt's signal at the deadline, with the reason", async () => {
    const reasons: unknown[] = []
    const { dispatch, clock } = orders(
      ({ signal }) =>
        new Promise((_, reject) =>
          signal.addEventListener('abort', () => {
            reasons.push(signal.reason)
            reject(new Error('stopped'))
          }),
        ),
    )
    const outcome = watched(dispatch())
    await clock.advance(999)
    expect(reasons).toEqual([])
    await clock.advance(1)
    expect(reasons).toMatchObject([{ code: 'timed-out', message: 'message m1 took longer than 1000 ms' }])
    expect(outcome.now.error).toMatchObject({ code: 'timed-out', cause: { message: 'stopped' } })
  })

  it('waits for the attempt to end before it settles', async () => {
    const { dispatch, clock } = orders(deaf(1_500, () => Promise.reject(new Error('too late'))))
    const outcome = watched(dispatch())
    await clock.advance(1_499)
    expect(outcome.now.state).toBe('pending')
    await clock.advance(1)
    expect(outcome.now.error).toMatchObject({ code: 'timed-out', cause: { message: 'too late' } })
  })

  it('takes a late success for a success', async () => {
    const { dispatch, clock } = orders(deaf(1_500))
    const outcome = watched(dispatch())
    await clock.advance(1_500)
    expect(outcome.now.value).toBe('handled')
  })

  it.each([
    ['a permanent error', new PermanentError('never')],
    ['RetryLater', new RetryLater(5)],
    ['an abandonment further in', new AbandonedError('gave up', Promise.resolve())],
  ])('lets %s pass that comes after the deadline', async (_, error) => {
    const { dispatch, clock } = orders(obedient(error))
    const outcome = watched(dispatch())
    await clock.advance(1_000)
    expect(outcome.now.error).toBe(error)
  })

  it("lets the handler's own error pass where the attempt was stopped from outside", async () => {
    const stop = new AbortController()
    const error = new Error('stopping')
    const { dispatch, clock } = orders(obedient(error))
    const outcome = watched(dispatch({ signal: stop.signal }))
    await clock.advance(500)
    stop.abort(new Error('shutdown'))
    await clock.advance(0)
    expect(outcome.now.error).toBe(error)
  })

  it('aborts at once where the delivery is stopped already', async () => {
    let reason: unknown
    const { dispatch } = orders(({ signal }) => {
      reason = signal.reason
      return Promise.resolve()
    })
    const stopped = new Error('shutdown')
    await dispatch({ signal: AbortSignal.abort(stopped) })
    expect(reason).toBe(stopped)
  })

  describe('B-10: a handler that is deaf to its signal', () => {
    it('is given up after the grace, while it still runs', async () => {
      const events = watch('abandoned')
      const { dispatch, clock } = orders(deaf(60_000), { abandonAfterMs: 500 })
      const outcome = watched(dispatch())
      await clock.advance(1_499)
      expect(outcome.now.state).toBe('pending')
      await clock.advance(1)
      const { error } = outcome.now
      expect(error).toMatchObject({ code: 'abandoned', message: 'message m1 was given up after 1500 ms' })
      expect(events).toMatchObject([{ afterMs: 1_500, delivery: { message: { id: 'm1' } } }])

      const settled = watched((error as AbandonedError).settled)
      await clock.advance(58_499)
      expect(settled.now.state).toBe('pending')
      await clock.advance(1)
      expect(settled.now.state).toBe('fulfilled')
    })

    it('is never tried again, and its late failure bothers nobody', async () => {
      const unhandled = watchUnhandled()
      const clock = fakeClock()
      let starts = 0
      const step = pipeline<null>('orders')
        .use(retry({ clock, maxAttempts: 5 }))
        .use(timeout({ afterMs: 1_000, clock }))
        .handle((delivery) => {
          starts++
          return deaf(60_000, () => {
            throw new Error('long after')
          })(delivery, clock)
        })
      const outcome = watched(step.dispatch({ message: { id: 'm1', body: null } }))
      await clock.advance(2_000)
      expect(outcome.now.error).toMatchObject({ code: 'abandoned' })
      const settled = watched((outcome.now.error as AbandonedError).settled)
      await clock.advance(100_000)
      expect(settled.now.state).toBe('fulfilled')
      expect(starts).toBe(1)
      expect(unhandled).toEqual([])
    })
  })

  it('a time-out is an attempt like any other failed one', async () => {
    const clock = fakeClock()
    let starts = 0
    const step = pipeline<null>('orders')
      .use(retry({ clock, maxAttempts: 3 }))
      .use(timeout({ afterMs: 1_000, clock }))
      .handle((delivery) => (++starts < 3 ? obedient(new Error('stopped'))(delivery, clock) : undefined))
    const outcome = watched(step.dispatch({ message: { id: 'm1', body: null } }))
    await clock.advance(10_000)
    expect(outcome.now.value).toBe('handled')
    expect(starts).toBe(3)
  })

  it('keeps many deadlines behind one timer, each at its own time', async () => {
    const { dispatch, clock } = orders(obedient(new Error('stopped')))
    const outcomes: ReturnType<typeof watched<Outcome>>[] = []
    for (let each = 0; each < 100; each++) {
      outcomes.push(watched(dispatch()))
      await clock.advance(10)
    }
    expect(outcomes.filter(({ now }) => now.state === 'rejected')).toHaveLength(1)
    await clock.advance(500)
    expect(outcomes.filter(({ now }) => now.state === 'rejected')).toHaveLength(51)
    expect(outcomes[50]?.now.error).toBeInstanceOf(HoldfastError)
    expect(outcomes[51]?.now.state).toBe('pending')
    // No timer of its own keeps a process alive.
    expect(clock.waiting).toBe(0)
  })

  it('is refused outside retry(), and twice', () => {
    const build = (...stages: readonly ReturnType<typeof retry>[]) =>
      stages.reduce((built, stage) => built.use(stage), pipeline('orders')).handle(() => {})
    expect(() => build(timeout({ afterMs: 5 }), retry())).toThrow(
      'orders: retry must stand outside timeout: there is one deadline for each attempt',
    )
    expect(() => build(timeout({ afterMs: 5 }), timeout({ afterMs: 9 }))).toThrow(
      'orders: there are two timeout stages',
    )
    expect(build(retry(), timeout({ afterMs: 5 })).describe().worstMs).toBe(5 * (5 + 5) + 4 * 5_000)
  })

  it.each([
    [{ afterMs: 0 }, 'timeout: afterMs must be a number of ms of at least 1, got 0'],
    [
      { afterMs: 5, abandonAfterMs: Infinity },
      'timeout: abandonAfterMs must be a number of ms of at least 1, got Infinity',
    ],
  ])('refuses %j', (options, message) => {
    expect(() => timeout(options)).toThrow(message)
  })
})
