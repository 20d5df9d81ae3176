import { describe, expect, it } from 'vitest'
import type { Delivery, Incoming, Outcome } from '../../src/core/delivery.ts'
import {
  AbandonedError,
  attemptsBefore,
  failureFrom,
  HoldfastError,
  PermanentError,
  RetryLater,
} from '../../src/core/errors.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { retryBudget, type RetryBudget } from '../../src/retry/budget.ts'
import { otherwise, recovery, when } from '../../src/retry/recovery.ts'
import { retry, type RetryOptions } from '../../src/retry/retry.ts'
import { timeout } from '../../src/retry/timeout.ts'
import { fakeClock, type FakeClock } from '../../src/testing/fake-clock.ts'
import { watch, watched, watchUnhandled } from '../support/watch.ts'

type Handler = (delivery: Delivery<string>) => Promise<unknown> | void

interface Run {
  readonly clock: FakeClock
  /** One line for each start of the handler: the time and the number of the attempt. */
  readonly starts: string[]
  dispatch(incoming?: Partial<Incoming<string>>): Promise<Outcome>
}

/** No jitter unless asked for, so that every wait is known: 100, 200, 400, … ms. */
function orders(handler: Handler, options: RetryOptions = {}): Run {
  const clock = fakeClock()
  const starts: string[] = []
  const step = pipeline<string>('orders')
    .use(retry({ clock, backoff: { jitter: 'none' }, ...options }))
    .handle((delivery) => {
      starts.push(`${clock.now()} #${delivery.attempt}`)
      return handler(delivery)
    })
  return {
    clock,
    starts,
    dispatch: (incoming) => step.dispatch({ message: { id: 'm1', body: '' }, ...incoming }),
  }
}

const down = (): never => {
  throw new Error('down')
}

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => expect.fail(`resolved with ${String(value)}`),
    (error: unknown) => error,
  )
}

describe('retry()', () => {
  it('starts the handler once where it succeeds', async () => {
    const { dispatch, starts } = orders(() => {})
    expect(await dispatch()).toBe('handled')
    expect(starts).toEqual(['0 #1'])
  })

  it('tries again with growing waits until it succeeds', async () => {
    const { dispatch, starts, clock } = orders(({ attempt }) => (attempt < 4 ? down() : undefined))
    const outcome = watched(dispatch())
    await clock.advance(10_000)
    expect(outcome.now).toEqual({ state: 'fulfilled', value: 'handled' })
    expect(starts).toEqual(['0 #1', '100 #2', '300 #3', '700 #4'])
  })

  it("surfaces the handler's last error itself when attempts run out", async () => {
    const errors: Error[] = []
    const { dispatch, clock } = orders(
      ({ attempt }) => {
        const error = new Error(`failure ${attempt}`)
        errors.push(error)
        throw error
      },
      { maxAttempts: 3 },
    )
    const outcome = watched(dispatch())
    await clock.advance(10_000)
    expect(errors).toHaveLength(3)
    expect(outcome.now.error).toBe(errors[2])
    expect(failureFrom(outcome.now.error, 'm1', 0)).toEqual({
      reason: 'attempts',
      errorName: 'Error',
      errorMessage: 'failure 3',
      attempts: 3,
    })
  })

  it('gives a permanent error up at once', async () => {
    const refusal = new PermanentError('no such customer')
    const { dispatch, starts } = orders(() => {
      throw refusal
    })
    expect(await rejection(dispatch())).toBe(refusal)
    expect(starts).toHaveLength(1)
    expect(failureFrom(refusal, 'm1', 0)).toMatchObject({ reason: 'permanent', attempts: 1 })
  })

  it('hands RetryLater through as it is, and does not count the attempt', async () => {
    const later = new RetryLater(60_000, { holds: 'pipeline' })
    const { dispatch, starts } = orders(() => {
      throw later
    })
    expect(await rejection(dispatch({ attempt: 3 }))).toBe(later)
    expect(starts).toHaveLength(1)
    expect(attemptsBefore(later, 'm1')).toBe(2)
  })

  it('hands the abandonment of a deaf handler through as it is', async () => {
    const abandoned = new AbandonedError('gave up', Promise.resolve())
    const { dispatch, starts } = orders(() => {
      throw abandoned
    })
    expect(await rejection(dispatch())).toBe(abandoned)
    expect(starts).toHaveLength(1)
  })

  it('B-4: retries what it does not know, and a time-out too', async () => {
    const unknown: readonly unknown[] = [
      new TypeError('x is undefined'),
      new HoldfastError('timed-out', 'late'),
      'a text',
    ]
    for (const error of unknown) {
      const { dispatch, starts, clock } = orders(({ attempt }) => (attempt === 1 ? Promise.reject(error) : undefined))
      const outcome = watched(dispatch())
      await clock.advance(1000)
      expect(outcome.now.value).toBe('handled')
      expect(starts).toHaveLength(2)
    }
  })

  it('does not judge errors by instanceof: another installed copy throws its own classes', async () => {
    // What every copy of this package marks its errors with.
    const foreign = Object.assign(new Error('never again'), { [Symbol.for('holdfast.error')]: true, code: 'permanent' })
    const { dispatch, starts } = orders(() => {
      throw foreign
    })
    expect(await rejection(dispatch())).toBe(foreign)
    expect(starts).toHaveLength(1)
  })

  describe('B-6: counts attempts over deliveries and instances', () => {
    it('goes on from the number that the delivery brings', async () => {
      const { dispatch, starts, clock } = orders(down, { maxAttempts: 5 })
      const outcome = watched(dispatch({ attempt: 4 }))
      await clock.advance(100_000)
      expect(starts).toEqual(['0 #4', '800 #5'])
      expect(outcome.now.state).toBe('rejected')
      expect(failureFrom(outcome.now.error, 'm1', 0)).toMatchObject({ reason: 'attempts', attempts: 5 })
    })

    it('starts the handler maxAttempts times in all, however the deliveries share them', async () => {
      // Every wait is too long to be slept, so that each delivery makes one attempt: as if instances took turns.
      const { dispatch, starts } = orders(down, { maxAttempts: 4, sleepUpToMs: 0 })
      let counted = 0
      for (;;) {
        const error = await rejection(dispatch({ attempt: counted + 1 }))
        counted = attemptsBefore(error, 'm1') ?? expect.fail('nobody counted')
        if (!(error instanceof RetryLater)) break
      }
      expect(starts).toEqual(['0 #1', '0 #2', '0 #3', '0 #4'])
    })

    it('hands long waits back, with the attempts so far', async () => {
      const { dispatch, starts, clock } = orders(down, {
        maxAttempts: 9,
        backoff: { initialMs: 2_000, jitter: 'none' },
        sleepUpToMs: 5_000,
      })
      const outcome = watched(dispatch())
      await clock.advance(100_000)
      expect(starts).toEqual(['0 #1', '2000 #2', '6000 #3'])
      const { error } = outcome.now
      expect(error).toMatchObject({ code: 'retry-later', holds: 'message', afterMs: 8_000 })
      expect((error as Error).cause).toMatchObject({ message: 'down' })
      expect(attemptsBefore(error, 'm1')).toBe(3)
    })
  })

  it('I-20: a message that was started maxAttempts times and never ended is not started again', async () => {
    const { dispatch, starts } = orders(() => {}, { maxAttempts: 3 })
    expect(await dispatch({ attempt: 3 })).toBe('handled')
    starts.length = 0
    const error = await rejection(dispatch({ attempt: 4 }))
    expect(starts).toEqual([])
    expect(error).toMatchObject({ code: 'permanent' })
    expect((error as Error).message).toContain('message m1 was started 3 times')
    expect(failureFrom(error, 'm1', 0)).toMatchObject({ reason: 'crashed', attempts: 3 })
  })

  describe('B-3: stops when the delivery does', () => {
    it('ends at once during a backoff, never calls the handler again, and keeps the count', async () => {
      const stop = new AbortController()
      const { dispatch, starts, clock } = orders(down, { backoff: { initialMs: 4_000, jitter: 'none' } })
      const outcome = watched(dispatch({ signal: stop.signal }))
      await clock.advance(1_000)
      stop.abort()
      await clock.advance(0)
      expect(outcome.now.state).toBe('rejected')
      expect(outcome.now.error).toMatchObject({ code: 'retry-later', holds: 'message' })
      expect(attemptsBefore(outcome.now.error, 'm1')).toBe(1)
      expect(clock.waiting).toBe(0)
      await clock.advance(100_000)
      expect(starts).toEqual(['0 #1'])
    })

    it('I-34: does not start the handler when the abort comes between the end of the wait and the start', async () => {
      const stop = new AbortController()
      const clock = fakeClock()
      // The wake-up and the abort share one instant: the timer fires, and before its promise is looked at comes the abort.
      const abortingClock = {
        ...clock,
        after: (ms: number, callback: () => void, idle?: boolean) =>
          clock.after(
            ms,
            () => {
              callback()
              stop.abort()
            },
            idle,
          ),
      }
      const { dispatch, starts } = orders(down, { clock: abortingClock })
      const outcome = watched(dispatch({ signal: stop.signal }))
      await clock.advance(10_000)
      expect(outcome.now.error).toMatchObject({ code: 'retry-later' })
      expect(starts).toHaveLength(1)
    })

    it('does not blame the message for an attempt that was cut short', async () => {
      const stop = new AbortController()
      const { dispatch, starts, clock } = orders(
        ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('cut')))),
      )
      const outcome = watched(dispatch({ signal: stop.signal, attempt: 2 }))
      await clock.advance(0)
      stop.abort()
      await clock.advance(100_000)
      expect(starts).toHaveLength(1)
      expect(outcome.now.error).toMatchObject({ code: 'retry-later', cause: { message: 'cut' } })
      expect(attemptsBefore(outcome.now.error, 'm1')).toBe(1)
    })
  })

  describe('B-5: jitter', () => {
    it('draws each wait between zero and its length, from the dice it was given', async () => {
      const dice = [0.5, 0.25, 1]
      const { dispatch, starts, clock } = orders(down, {
        maxAttempts: 4,
        backoff: { initialMs: 1_000 },
        random: () => dice.shift() ?? 0,
      })
      const outcome = watched(dispatch())
      await clock.advance(100_000)
      expect(starts).toEqual(['0 #1', '500 #2', '1000 #3', '5000 #4'])
      expect(outcome.now.state).toBe('rejected')
    })

    it('hands back a wait past 2³¹ − 1 ms instead of firing at once', async () => {
      const { dispatch, starts } = orders(down, { backoff: () => 2 ** 40 })
      expect(await rejection(dispatch())).toMatchObject({ code: 'retry-later', afterMs: 2 ** 31 - 1 })
      expect(starts).toHaveLength(1)
    })

    it.each([
      ['throws', () => expect.fail('no wait today')],
      ['answers NaN', () => NaN],
    ])('a backoff that %s is told, and the usual wait is taken', async (_, backoff) => {
      const told = watch('option-failed')
      const { dispatch, starts, clock } = orders(down, { maxAttempts: 3, backoff, random: () => 0.5 })
      const outcome = watched(dispatch())
      await clock.advance(10_000)
      expect(outcome.now.error).toMatchObject({ message: 'down' })
      expect(starts).toHaveLength(3)
      expect(told.map(({ option }) => option)).toEqual(['retry: backoff', 'retry: backoff'])
    })

    it('takes a negative wait for none', async () => {
      const { dispatch, starts, clock } = orders(down, { maxAttempts: 2, backoff: () => -1 })
      const outcome = watched(dispatch())
      await clock.advance(10)
      expect(outcome.now.state).toBe('rejected')
      expect(starts).toHaveLength(2)
    })
  })

  describe('a recovery that fails', () => {
    it.each([
      ['throws', () => expect.fail('undecided')],
      ['decides nothing', () => undefined],
      ['defers to no time', () => ({ do: 'defer', afterMs: NaN })],
      ['makes a promise', () => Promise.resolve({ do: 'discard', reason: 'x' })],
    ])('that %s is told, and the default decides on the handler’s error', async (_, recovery) => {
      const told = watch('option-failed')
      const { dispatch, starts, clock } = orders(down, { maxAttempts: 2, recovery: recovery as never })
      const outcome = watched(dispatch())
      await clock.advance(10_000)
      expect(outcome.now.error).toMatchObject({ message: 'down' })
      expect(starts).toHaveLength(2)
      expect(told.map(({ option }) => option)).toEqual(['retry: recovery', 'retry: recovery'])
    })
  })

  describe('B-1: the retry budget', () => {
    it('P-22 hands a retry back that it does not allow, says so, and neither dead-letters nor parks it', async () => {
      const refusals = watch('retry-refused')
      const clock = fakeClock()
      const budget = retryBudget({ name: 'payment-api', ratio: 0, tokensPerSecond: 0.001, maxTokens: 2, clock })
      const { dispatch, starts } = orders(down, { clock, budget, maxAttempts: 5 })
      const outcome = watched(dispatch())
      await clock.advance(10_000)
      expect(starts).toHaveLength(3)
      expect(outcome.now.error).toMatchObject({ code: 'retry-later', holds: 'lane', cause: { message: 'down' } })
      expect((outcome.now.error as Error).message).toContain("'payment-api'")
      expect(attemptsBefore(outcome.now.error, 'm1')).toBe(3)
      expect(refusals).toHaveLength(1)
    })

    it('a refused retry waits for its own token, or for its backoff where that is longer', async () => {
      const clock = fakeClock()
      const budget = retryBudget({ ratio: 0, tokensPerSecond: 1, maxTokens: 1, clock })
      expect(budget.spend('another')).toBe(0)
      const short = orders(down, { clock, budget })
      expect(await rejection(short.dispatch())).toMatchObject({ afterMs: 1_000 })
      const long = orders(down, { clock, budget, backoff: () => 4_000 })
      expect(await rejection(long.dispatch({ message: { id: 'm2', body: '' } }))).toMatchObject({ afterMs: 4_000 })
      const third = orders(down, { clock, budget })
      expect(await rejection(third.dispatch({ message: { id: 'm3', body: '' } }))).toMatchObject({ afterMs: 3_000 })
    })

    it('a budget that fails is told, and the retry goes on', async () => {
      const told = watch('option-failed')
      const budget: RetryBudget = {
        name: 'broken',
        tokens: 0,
        earn: () => expect.fail('no earning'),
        spend: () => Promise.reject(new Error('no spending')),
      }
      const { dispatch, starts, clock } = orders(down, { budget, maxAttempts: 2 })
      const outcome = watched(dispatch())
      await clock.advance(1_000)
      expect(outcome.now.error).toMatchObject({ message: 'down' })
      expect(starts).toHaveLength(2)
      expect(told.map(({ option }) => option)).toEqual(['retry: budget', 'retry: budget'])
    })

    it('counts a redelivered message as the retry that it is', async () => {
      const clock = fakeClock()
      const budget = retryBudget({ ratio: 0, tokensPerSecond: 1, maxTokens: 1, clock })
      const { dispatch, starts } = orders(() => {}, { clock, budget })
      expect(await dispatch({ attempt: 2 })).toBe('handled')
      const error = await rejection(dispatch({ attempt: 2 }))
      expect(error).toMatchObject({ code: 'retry-later', holds: 'lane' })
      expect(attemptsBefore(error, 'm1')).toBe(1)
      expect(starts).toHaveLength(1)
      await clock.advance(1_000)
      expect(await dispatch({ attempt: 2 })).toBe('handled')
    })

    it('is one bucket for all pipelines that share it, and lets first attempts through always', async () => {
      const clock = fakeClock()
      const budget = retryBudget({ ratio: 0, tokensPerSecond: 0.001, maxTokens: 3, clock })
      const pipelines = [orders(down, { clock, budget }), orders(down, { clock, budget })]
      for (let round = 0; round < 10; round++) {
        const outcomes = pipelines.map(({ dispatch }) => watched(dispatch()))
        await clock.advance(10_000)
        for (const outcome of outcomes) expect(outcome.now.state).toBe('rejected')
      }
      const starts = pipelines.flatMap((each) => each.starts)
      expect(starts.filter((start) => start.endsWith('#1'))).toHaveLength(20)
      expect(starts.filter((start) => !start.endsWith('#1'))).toHaveLength(3)
    })
  })

  describe('with a recovery table', () => {
    class RateLimited extends Error {
      readonly retryAfterMs = 1_234
    }

    it('defers without counting, dead-letters with a reason, and discards with an event', async () => {
      const discards = watch('discarded')
      const table = recovery(
        when(RateLimited).after((error) => error.retryAfterMs),
        when(RangeError).deadLetter('conflict'),
        when(TypeError).discard('stale reference'),
        otherwise.deadLetter(),
      )
      const throwing = (error: Error) =>
        orders(
          () => {
            throw error
          },
          { recovery: table },
        ).dispatch({ attempt: 2 })

      const deferred = await rejection(throwing(new RateLimited()))
      expect(deferred).toMatchObject({ code: 'retry-later', holds: 'message', afterMs: 1_234 })
      expect(attemptsBefore(deferred, 'm1')).toBe(1)

      const conflict = new RangeError('out')
      expect(await rejection(throwing(conflict))).toBe(conflict)
      expect(failureFrom(conflict, 'm1', 0)).toMatchObject({ reason: 'conflict', attempts: 2 })

      expect(await throwing(new TypeError('gone'))).toBe('discarded')
      expect(discards).toMatchObject([{ reason: 'stale reference', error: { message: 'gone' } }])
    })

    it('takes the wait of a rule, and maxAttempts all the same', async () => {
      const { dispatch, starts, clock } = orders(down, {
        maxAttempts: 3,
        recovery: () => ({ do: 'retry', afterMs: 7 }),
      })
      const outcome = watched(dispatch())
      await clock.advance(1_000)
      expect(starts).toEqual(['0 #1', '7 #2', '14 #3'])
      expect(outcome.now.state).toBe('rejected')
    })

    it('is never asked about RetryLater', async () => {
      const later = new RetryLater(5)
      const { dispatch } = orders(
        () => {
          throw later
        },
        { recovery: () => expect.fail('asked') },
      )
      expect(await rejection(dispatch())).toBe(later)
    })
  })

  it('says of each failed attempt when the next one comes', async () => {
    const failures = watch('attempt-failed')
    const { dispatch, clock } = orders(down, { maxAttempts: 3 })
    const outcome = watched(dispatch())
    await clock.advance(10_000)
    expect(outcome.now.state).toBe('rejected')
    expect(failures.map(({ attempt, nextInMs }) => [attempt, nextInMs])).toEqual([
      [1, 100],
      [2, 200],
      [3, null],
    ])
  })

  it('leaves no rejection unhandled and no timer behind', async () => {
    const unhandled = watchUnhandled()
    const stop = new AbortController()
    const { dispatch, clock } = orders(async () => down())
    const outcomes = Array.from({ length: 20 }, () => watched(dispatch({ signal: stop.signal })))
    await clock.advance(150)
    stop.abort()
    await clock.advance(0)
    expect(outcomes.every(({ now }) => now.state === 'rejected')).toBe(true)
    expect(clock.waiting).toBe(0)
    expect(unhandled).toEqual([])
  })

  it('keeps attempts of one message from overlapping, even where they time out', async () => {
    const clock = fakeClock()
    let running = 0
    let most = 0
    const step = pipeline<string>('orders')
      .use(retry({ clock, maxAttempts: 3 }))
      .use(timeout({ afterMs: 100, abandonAfterMs: 10_000, clock }))
      .handle(async () => {
        most = Math.max(most, ++running)
        // Slow to notice its signal.
        await new Promise<void>((resolve) => void clock.after(350, resolve))
        running--
        throw new Error('late')
      })
    const outcome = watched(step.dispatch({ message: { id: 'm1', body: '' } }))
    await clock.advance(20_000)
    expect(outcome.now.error).toMatchObject({ code: 'timed-out' })
    expect(most).toBe(1)
  })

  it.each([
    [{ maxAttempts: 0 }, 'retry: maxAttempts must be an integer of at least 1, got 0'],
    [{ maxAttempts: 1.5 }, 'retry: maxAttempts must be an integer of at least 1, got 1.5'],
    [{ sleepUpToMs: -1 }, 'retry: sleepUpToMs must be a number of ms of at least 0, got -1'],
    [{ backoff: { initialMs: NaN } }, 'exponential: initialMs must be a number of ms of at least 0, got NaN'],
    [{ backoff: { maxMs: Infinity } }, 'exponential: maxMs must be a number of ms of at least 0, got Infinity'],
  ])('refuses %j when it is built', (options, message) => {
    expect(() => retry(options)).toThrow(message)
  })

  it('refuses a recovery that is no function and a budget that is none', () => {
    // @ts-expect-error a text is no recovery
    expect(() => retry({ recovery: 'all' })).toThrow("retry: recovery must be a function, got 'all'")
    // @ts-expect-error a number is no budget
    expect(() => retry({ budget: 3 })).toThrow('retry: budget must be an object with earn(), spend(), got 3')
  })
})
