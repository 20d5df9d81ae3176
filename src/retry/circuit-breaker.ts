import { CircuitState as Breakers, ConsecutiveBreaker, SamplingBreaker, type IBreaker } from 'cockatiel'
import { systemClock, type Clock } from '../core/clock.ts'
import { staged, type Middleware } from '../core/delivery.ts'
import { isPermanent, isRetryLater, RetryLater } from '../core/errors.ts'
import { emitter, type CircuitState } from '../core/events.ts'
import type { HasHealth } from '../core/health.ts'
import { badOption, callback, checkOptions, clockKind, count, having, ms, required, text } from '../core/options.ts'
import { neverAborts } from '../core/signals.ts'

export interface CircuitBreakerOptions {
  /** The dependency that it stands before: in events, health and messages. */
  readonly name: string
  /** Failures in a row that open it. @defaultValue 5 */
  readonly openAfter?: number
  /** A breaker of cockatiel instead of `openAfter`, such as `new CountBreaker({ threshold: 0.5, size: 20 })`; for this circuit alone. */
  readonly breaker?: IBreaker
  /** How long it stays open before one call may probe. @defaultValue 10_000 */
  readonly halfOpenAfterMs?: number
  /** A probe without an answer after this time counts as failed. @defaultValue 10_000 */
  readonly probeTimeoutMs?: number
  /**
   * Which errors say that the dependency is down. Never asked about `RetryLater`, permanent errors and work that was
   * stopped from outside: those say nothing about it. @defaultValue every other error
   */
  readonly shouldTrip?: (error: unknown) => boolean
  readonly clock?: Clock
}

/** A middleware that is also a guard to put round one call. */
export interface CircuitBreaker extends Middleware, HasHealth {
  readonly state: CircuitState
  /**
   * Makes one call through the circuit.
   * @throws RetryLater (`holds: 'pipeline'`) while the circuit is open: let it pass, the message waits.
   */
  run<T>(work: (signal: AbortSignal) => Promise<T>, options?: { readonly signal?: AbortSignal }): Promise<T>
}

const circuitChanged = emitter('circuit-changed')

// While somebody else's probe is under way: it may be back much sooner than its time-out.
const probeWaitMs = 1000

/**
 * While the dependency is down, hands work back instead of trying it: that is never an attempt, and nothing is lost.
 * One call probes whether it is back; the others wait.
 */
export function circuitBreaker(options: CircuitBreakerOptions): CircuitBreaker {
  const {
    name,
    openAfter,
    breaker = new ConsecutiveBreaker(openAfter ?? 5),
    halfOpenAfterMs = 10_000,
    probeTimeoutMs = 10_000,
    shouldTrip = () => true,
    clock = systemClock,
  } = checkOptions('circuitBreaker', options, {
    name: required(text),
    openAfter: count(),
    breaker: having('success', 'failure'),
    halfOpenAfterMs: ms(),
    probeTimeoutMs: ms(),
    shouldTrip: callback,
    clock: clockKind,
  })
  if (openAfter !== undefined && !(breaker instanceof ConsecutiveBreaker))
    throw badOption('circuitBreaker', 'openAfter', 'left out where there is a breaker', openAfter)
  if (breaker instanceof SamplingBreaker)
    throw badOption(
      'circuitBreaker',
      'breaker',
      'a ConsecutiveBreaker or a CountBreaker (a SamplingBreaker never opens at a low rate, and counts failures of hours ago)',
      'a SamplingBreaker',
    )

  /** One stretch of a state. What was started in an earlier one has no say any more. */
  let era = eraOf()
  let reopensAtMs = 0
  let probeEndsMs: number | null = null

  function change(to: CircuitState): void {
    const from = circuit.state
    era = eraOf()
    probeEndsMs = null
    circuit.state = to
    if (circuitChanged.active()) circuitChanged.publish({ name, from, to })
  }

  /** Made once for all calls that end well in it. */
  function eraOf(): { readonly succeeded: <T>(value: T) => T } {
    const mine = {
      succeeded<T>(value: T): T {
        if (era === mine) breaker.success(Breakers.Closed)
        return value
      },
    }
    return mine
  }

  function open(): void {
    reopensAtMs = clock.now() + halfOpenAfterMs
    change('open')
  }

  function failed(error: unknown, signal: AbortSignal): void {
    if (counts(error, signal) && breaker.failure(Breakers.Closed)) open()
  }

  function counts(error: unknown, signal: AbortSignal): boolean {
    return !signal.aborted && !isRetryLater(error) && !isPermanent(error) && shouldTrip(error)
  }

  /** Any call while the circuit is not closed: the probe, or refused. */
  function probe<T>(call: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const nowMs = clock.now()
    if (circuit.state === 'open') {
      if (nowMs < reopensAtMs) return refused(reopensAtMs - nowMs, 'open')
      change('half-open')
    }
    if (probeEndsMs !== null) return refused(Math.min(probeEndsMs - nowMs, probeWaitMs), 'being probed')

    const mine = era
    probeEndsMs = nowMs + probeTimeoutMs
    const giveUp = clock.after(probeTimeoutMs, () => settle(fail), true)
    function settle(then: () => void): void {
      giveUp()
      if (era === mine) then()
    }
    return call().then(
      (value) => {
        settle(() => {
          breaker.success(Breakers.HalfOpen)
          change('closed')
        })
        return value
      },
      (error: unknown) => {
        // An error that does not count proves nothing either way: the next call is the probe.
        settle(counts(error, signal) ? fail : () => (probeEndsMs = null))
        throw error
      },
    )
  }

  function fail(): void {
    breaker.failure(Breakers.HalfOpen)
    open()
  }

  function refused(waitMs: number, how: string): Promise<never> {
    const because = `circuit ${name} is ${how}`
    return Promise.reject(new RetryLater(Math.max(waitMs, 1), { holds: 'pipeline', because }))
  }

  const middleware: Middleware = (next) =>
    function circuitBreaker(delivery) {
      if (circuit.state !== 'closed') return probe(() => next(delivery), delivery.signal)
      const mine = era
      return next(delivery).then(mine.succeeded, (error: unknown) => {
        if (era === mine) failed(error, delivery.signal)
        throw error
      })
    }

  async function run<T>(
    work: (signal: AbortSignal) => Promise<T>,
    { signal = neverAborts }: { readonly signal?: AbortSignal } = {},
  ): Promise<T> {
    signal.throwIfAborted()
    if (circuit.state !== 'closed') return probe(async () => work(signal), signal)
    const mine = era
    try {
      return mine.succeeded(await work(signal))
    } catch (error) {
      if (era === mine) failed(error, signal)
      throw error
    }
  }

  const initial: CircuitState = 'closed'
  const circuit: CircuitBreaker & { state: CircuitState } = Object.assign(
    staged(middleware, {
      name: 'circuit-breaker',
      wantsOutside: { retry: 'it must see every attempt, and its refusals must pass through retry uncounted' },
    }),
    {
      state: initial,
      run,
      health() {
        const { state } = circuit
        const retryInMs = state === 'open' ? Math.max(0, Math.ceil(reopensAtMs - clock.now())) : null
        return { name: `circuit ${name}`, live: true, ready: state !== 'open', details: { state, retryInMs } }
      },
    },
  )
  return circuit
}
