import { CountBreaker, SamplingBreaker } from 'cockatiel'
import { describe, expect, it } from 'vitest'
import type { Incoming, Outcome } from '../../src/core/delivery.ts'
import { attemptsBefore, PermanentError, RetryLater } from '../../src/core/errors.ts'
import { health } from '../../src/core/health.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { circuitBreaker, type CircuitBreaker, type CircuitBreakerOptions } from '../../src/retry/circuit-breaker.ts'
import { retry } from '../../src/retry/retry.ts'
import { fakeClock, type FakeClock } from '../../src/testing/fake-clock.ts'
import { watch, watched, watchUnhandled } from '../support/watch.ts'

interface Dependency {
  readonly clock: FakeClock
  readonly breaker: CircuitBreaker
  calls: number
  /** What the next calls do; the default answers. */
  answer: () => Promise<unknown>
  dispatch(incoming?: Partial<Incoming<null>>): Promise<Outcome>
}

function dependency(options: Partial<CircuitBreakerOptions> = {}): Dependency {
  const clock = fakeClock()
  const breaker = circuitBreaker({ name: 'payment-api', openAfter: 3, halfOpenAfterMs: 10_000, clock, ...options })
  const step = pipeline<null>('orders')
    .use(breaker)
    .handle(() => {
      self.calls++
      return self.answer()
    })
  const self: Dependency = {
    clock,
    breaker,
    calls: 0,
    answer: () => Promise.resolve(),
    dispatch: (incoming) => step.dispatch({ message: { id: 'm1', body: null }, ...incoming }),
  }
  return self
}

const failing = (): Promise<never> => Promise.reject(new Error('connection refused'))
const ignore = (): void => {}

async function open(self: Dependency): Promise<void> {
  self.answer = failing
  for (let time = 0; time < 3; time++) await self.dispatch().catch(ignore)
  expect(self.breaker.state).toBe('open')
  self.calls = 0
}

async function rejection(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    (value) => expect.fail(`resolved with ${String(value)}`),
    (error: Error) => error,
  )
}

describe('circuitBreaker()', () => {
  it('opens after so many failures in a row; a success in between starts the count again', async () => {
    const self = dependency()
    for (const answer of [failing, failing, () => Promise.resolve(), failing, failing]) {
      self.answer = answer
      await self.dispatch().catch(ignore)
    }
    expect(self.breaker.state).toBe('closed')
    self.answer = failing
    await self.dispatch().catch(ignore)
    expect(self.breaker.state).toBe('open')
  })

  it('B-2: while open hands work back untried, for as long as it stays open, as a wait for everybody', async () => {
    const self = dependency()
    await open(self)
    await self.clock.advance(4_000)
    const refused = await rejection(self.dispatch())
    expect(refused).toMatchObject({
      code: 'retry-later',
      holds: 'pipeline',
      afterMs: 6_000,
      message: 'circuit payment-api is open',
    })
    expect(self.calls).toBe(0)
  })

  it('B-2: an open circuit uses up no attempts, however often the message comes back', async () => {
    const clock = fakeClock()
    const breaker = circuitBreaker({ name: 'payment-api', openAfter: 2, halfOpenAfterMs: 10_000, clock })
    let calls = 0
    let up = false
    const step = pipeline<null>('orders')
      .use(retry({ maxAttempts: 3, clock, backoff: { jitter: 'none' } }))
      .use(breaker)
      .handle(async () => {
        calls++
        if (!up) throw new Error('down')
      })
    let counted = 0
    // The transport brings the message back every second, with the count that was kept.
    for (let redelivery = 0; redelivery < 9; redelivery++) {
      const outcome = watched(step.dispatch({ message: { id: 'm1', body: null }, attempt: counted + 1 }))
      await clock.advance(1_000)
      expect(outcome.now.error).toMatchObject({ code: 'retry-later', holds: 'pipeline' })
      counted = attemptsBefore(outcome.now.error, 'm1') ?? expect.fail('nobody counted')
    }
    // B-8: the breaker saw each attempt, so the dead dependency was called twice and not for every attempt of everybody.
    expect({ calls, counted }).toEqual({ calls: 2, counted: 2 })
    up = true
    await clock.advance(10_000)
    expect(await step.dispatch({ message: { id: 'm1', body: null }, attempt: counted + 1 })).toBe('handled')
  })

  it('B-8: is refused outside retry(), where it would see one failure for many calls', () => {
    expect(() =>
      pipeline('orders')
        .use(circuitBreaker({ name: 'payment-api' }))
        .use(retry())
        .handle(ignore),
    ).toThrow('orders: retry must stand outside circuit-breaker: it must see every attempt')
  })

  describe('B-3: half open', () => {
    it('lets one probe go, hands the others back, and closes when it succeeds', async () => {
      const self = dependency()
      await open(self)
      await self.clock.advance(10_000)
      const answer = Promise.withResolvers<void>()
      self.answer = () => answer.promise
      const probe = watched(self.dispatch())
      const others = await Promise.all([1, 2, 3].map(() => rejection(self.dispatch())))
      expect(self.breaker.state).toBe('half-open')
      expect(self.calls).toBe(1)
      for (const other of others)
        expect(other).toMatchObject({ code: 'retry-later', holds: 'pipeline', afterMs: 1_000 })
      answer.resolve()
      await self.clock.advance(0)
      expect(probe.now.value).toBe('handled')
      expect(self.breaker.state).toBe('closed')
      expect(await self.dispatch()).toBe('handled')
    })

    it('opens for another stretch when the probe fails', async () => {
      const self = dependency()
      await open(self)
      await self.clock.advance(10_000)
      expect(await rejection(self.dispatch())).toMatchObject({ message: 'connection refused' })
      expect(self.breaker.state).toBe('open')
      expect(await rejection(self.dispatch())).toMatchObject({ code: 'retry-later', afterMs: 10_000 })
      expect(self.calls).toBe(1)
    })

    it('a probe that does not answer counts as failed, while its caller still waits for it', async () => {
      const unhandled = watchUnhandled()
      const self = dependency({ probeTimeoutMs: 2_000 })
      await open(self)
      await self.clock.advance(10_000)
      const answer = Promise.withResolvers<void>()
      self.answer = () => answer.promise
      const probe = watched(self.dispatch())
      await self.clock.advance(2_000)
      expect(self.breaker.state).toBe('open')
      expect(probe.now.state).toBe('pending')
      // What it says later has no say: the circuit has moved on.
      answer.reject(new Error('far too late'))
      await self.clock.advance(0)
      expect(probe.now.error).toMatchObject({ message: 'far too late' })
      await self.clock.advance(9_999)
      expect(self.calls).toBe(1)
      self.answer = () => Promise.resolve()
      await self.clock.advance(1)
      expect(await self.dispatch()).toBe('handled')
      expect(self.breaker.state).toBe('closed')
      expect(unhandled).toEqual([])
    })

    it('a late success of a timed-out probe does not close the circuit', async () => {
      const self = dependency({ probeTimeoutMs: 2_000 })
      await open(self)
      await self.clock.advance(10_000)
      const answer = Promise.withResolvers<void>()
      self.answer = () => answer.promise
      const probe = watched(self.dispatch())
      await self.clock.advance(2_000)
      answer.resolve()
      await self.clock.advance(0)
      expect(probe.now.value).toBe('handled')
      expect(self.breaker.state).toBe('open')
    })

    it.each([
      ['RetryLater', () => Promise.reject(new RetryLater(5))],
      ['a permanent error', () => Promise.reject(new PermanentError('bad input'))],
    ])('%s of the probe proves nothing: the next call is the probe', async (_, answer) => {
      const self = dependency()
      await open(self)
      await self.clock.advance(10_000)
      self.answer = answer
      await self.dispatch().catch(ignore)
      expect(self.breaker.state).toBe('half-open')
      self.answer = () => Promise.resolve()
      expect(await self.dispatch()).toBe('handled')
      expect(self.breaker.state).toBe('closed')
    })
  })

  it('failures that began before it opened do not open it again once the probe has closed it', async () => {
    const self = dependency()
    const slow = Promise.withResolvers<void>()
    self.answer = () => slow.promise
    const inFlight = Array.from({ length: 10 }, () => watched(self.dispatch()))
    await open(self)
    await self.clock.advance(10_000)
    self.answer = () => Promise.resolve()
    await self.dispatch()
    expect(self.breaker.state).toBe('closed')
    slow.reject(new Error('timed out at last'))
    await self.clock.advance(0)
    expect(inFlight.every(({ now }) => now.state === 'rejected')).toBe(true)
    expect(self.breaker.state).toBe('closed')
  })

  describe('what does not count', () => {
    it.each([
      ['RetryLater', new RetryLater(1000)],
      ['permanent errors', new PermanentError('bad input')],
    ])('%s never open it', async (_, error) => {
      const self = dependency()
      self.answer = () => Promise.reject(error)
      for (let time = 0; time < 20; time++) await self.dispatch().catch(ignore)
      expect(self.breaker.state).toBe('closed')
    })

    it('work that was stopped by a shutdown never opens it', async () => {
      const self = dependency()
      self.answer = failing
      const stopped = AbortSignal.abort()
      for (let time = 0; time < 20; time++) await self.dispatch({ signal: stopped }).catch(ignore)
      expect(self.breaker.state).toBe('closed')
    })

    it('B-11: errors that shouldTrip says no to never open it', async () => {
      const self = dependency({ shouldTrip: (error) => !(error instanceof RangeError) })
      self.answer = () => Promise.reject(new RangeError('from the database'))
      for (let time = 0; time < 20; time++) await self.dispatch().catch(ignore)
      expect(self.breaker.state).toBe('closed')
      await open(self)
    })
  })

  describe('run()', () => {
    it('B-11: guards one call inside a handler, so that other errors of the handler do not open it', async () => {
      const clock = fakeClock()
      const payments = circuitBreaker({ name: 'payment-api', openAfter: 2, clock })
      let paymentsUp = true
      const step = pipeline<null>('orders').handle(async ({ signal }) => {
        await payments.run(() => (paymentsUp ? Promise.resolve() : failing()), { signal })
        throw new Error('the database is down')
      })
      const dispatch = () => rejection(step.dispatch({ message: { id: 'm1', body: null } }))
      for (let time = 0; time < 10; time++) expect(await dispatch()).toMatchObject({ message: 'the database is down' })
      expect(payments.state).toBe('closed')
      paymentsUp = false
      await dispatch()
      await dispatch()
      expect(payments.state).toBe('open')
      expect(await dispatch()).toMatchObject({ code: 'retry-later', holds: 'pipeline' })
    })

    it('answers with what the call answers, and hands it the signal', async () => {
      const payments = circuitBreaker({ name: 'payment-api', clock: fakeClock() })
      const { signal } = new AbortController()
      expect(await payments.run((given) => Promise.resolve(given === signal && 42), { signal })).toBe(42)
      expect(await payments.run((given) => Promise.resolve(given.aborted))).toBe(false)
    })

    it('does not start a call whose signal is aborted already', async () => {
      const payments = circuitBreaker({ name: 'payment-api', clock: fakeClock() })
      const reason = new Error('shutdown')
      const call = payments.run(() => expect.fail('started'), { signal: AbortSignal.abort(reason) })
      expect(await rejection(call)).toBe(reason)
    })

    it('takes a synchronous throw for a failure, as a probe too', async () => {
      const clock = fakeClock()
      const payments = circuitBreaker({ name: 'payment-api', openAfter: 1, halfOpenAfterMs: 1_000, clock })
      const throwing = (): Promise<never> => {
        throw new Error('thrown')
      }
      expect(await rejection(payments.run(throwing))).toMatchObject({ message: 'thrown' })
      expect(payments.state).toBe('open')
      await clock.advance(1_000)
      expect(await rejection(payments.run(throwing))).toMatchObject({ message: 'thrown' })
      expect(payments.state).toBe('open')
      await clock.advance(1_000)
      expect(await payments.run(() => Promise.resolve('back'))).toBe('back')
      expect(payments.state).toBe('closed')
    })

    it('shares its circuit with the stage', async () => {
      const self = dependency()
      for (let time = 0; time < 3; time++) await self.breaker.run(failing).catch(ignore)
      expect(await rejection(self.dispatch())).toMatchObject({ code: 'retry-later' })
      expect(self.calls).toBe(0)
    })
  })

  it('says what happens to it', async () => {
    const changes = watch('circuit-changed')
    const self = dependency()
    await open(self)
    await self.clock.advance(10_000)
    self.answer = () => Promise.resolve()
    await self.dispatch()
    expect(changes.map(({ name, from, to }) => `${name}: ${from} → ${to}`)).toEqual([
      'payment-api: closed → open',
      'payment-api: open → half-open',
      'payment-api: half-open → closed',
    ])
  })

  it('tells its health as data', async () => {
    const self = dependency()
    expect(health(self.breaker)).toMatchObject({ live: true, ready: true })
    await open(self)
    await self.clock.advance(1_000)
    expect(self.breaker.health()).toEqual({
      name: 'circuit payment-api',
      live: true,
      ready: false,
      details: { state: 'open', retryInMs: 9_000 },
    })
  })

  it("takes a CountBreaker of cockatiel's: opens by the share of failures in the last calls", async () => {
    const clock = fakeClock()
    const breaker = new CountBreaker({ threshold: 0.5, size: 10 })
    const circuit = circuitBreaker({ name: 'payment-api', breaker, halfOpenAfterMs: 1_000, clock })
    for (let call = 0; call < 9; call++)
      await circuit.run(call % 3 === 0 ? () => Promise.resolve() : failing).catch(ignore)
    expect(circuit.state).toBe('closed')
    await circuit.run(failing).catch(ignore)
    expect(circuit.state).toBe('open')
    await clock.advance(1_000)
    await circuit.run(() => Promise.resolve())
    expect(circuit.state).toBe('closed')
    await circuit.run(failing).catch(ignore)
    expect(circuit.state).toBe('closed')
  })

  it('B-3: refuses a SamplingBreaker, with the reason', () => {
    const breaker = new SamplingBreaker({ threshold: 0.5, duration: 10_000 })
    expect(() => circuitBreaker({ name: 'payment-api', breaker })).toThrow(
      /^circuitBreaker: breaker must be a ConsecutiveBreaker or a CountBreaker .*never opens at a low rate/,
    )
  })

  it.each([
    [{ name: '' }, "circuitBreaker: name must be a text that is not empty, got ''"],
    [{ name: 'a', openAfter: 0 }, 'circuitBreaker: openAfter must be an integer of at least 1, got 0'],
    [{ name: 'a', halfOpenAfterMs: 0 }, 'circuitBreaker: halfOpenAfterMs must be a number of ms of at least 1, got 0'],
    [
      { name: 'a', probeTimeoutMs: NaN },
      'circuitBreaker: probeTimeoutMs must be a number of ms of at least 1, got NaN',
    ],
    [
      { name: 'a', openAfter: 2, breaker: new CountBreaker({ threshold: 0.5, size: 2 }) },
      'circuitBreaker: openAfter must be left out where there is a breaker, got 2',
    ],
  ])('refuses %o', (options, message) => {
    expect(() => circuitBreaker(options)).toThrow(message)
  })
})
