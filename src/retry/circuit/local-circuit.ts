import { isAbandoned, isHoldfastError, isPermanent, isRetryLater, RetryLater, type Holds } from '../../core/errors.ts'
import { emitter, type CircuitChange, type CircuitState } from '../../core/events.ts'
import { asks } from '../../core/guarded.ts'
import { Failures, type Failed } from './failures.ts'
import { dependencyErrors, statusOf } from './looks-down.ts'
import { Ramp } from './ramp.ts'
import { Recent } from './recent.ts'
import { retryAfterMs } from './retry-after.ts'
import type { Call, CircuitTerms, Fleet, ProbeResult } from './terms.ts'
import { Waiting } from './waiting.ts'

const circuitChanged = emitter('circuit-changed')
const probeSettled = emitter('probe-settled')
const attemptUnproven = emitter('attempt-unproven')

const growth = 1.5
// While another call is the probe: it may be back long before its time-out.
const probedWaitMs = 250
// For so long a message that failed by itself gives way to one that waits and failed less often.
const givesWayMs = 250
const givesWayWaitMs = 50

/**
 * The rule of one process. It opens after `openAfter` different messages failed for the first time with no answer in
 * between. A message's later failures say nothing new, so that poison opens nothing.
 */
export class LocalCircuit {
  state: CircuitState = 'closed'
  unproven = 0
  fleet: Fleet | undefined
  readonly ramp: Ramp
  /** Different messages that failed for the first time since the last answer. */
  bad = 0
  badSinceMs: number | null = null
  answeredAtMs: number | null = null
  reopensAtMs = 0
  readonly group: string | null
  readonly #terms: CircuitTerms
  readonly #holds: Holds
  readonly #onChange: (change: CircuitChange) => void
  readonly #failures = new Failures()
  readonly #recent = new Recent()
  readonly #waiting = new Waiting()
  #era = 0
  #answers = 0
  #openForMs: number
  #probe: Call | undefined
  #probeEndsAtMs = 0
  #cancelProbe = (): void => {}

  constructor(terms: CircuitTerms, group: string | null, onChange: (change: CircuitChange) => void) {
    this.#terms = terms
    this.group = group
    // A tenant's circuit is no reason to hold the others.
    this.#holds = group === null ? 'pipeline' : 'lane'
    this.#onChange = onChange
    this.#openForMs = terms.openMs
    this.ramp = new Ramp(terms.maxRamp)
  }

  get isProbing(): boolean {
    return this.#probe !== undefined
  }

  /** How long it is open for when it opens next. */
  get windowMs(): number {
    return this.#openForMs
  }

  get nowMs(): number {
    return this.#terms.clock.now()
  }

  /**
   * Starts a call. Else it says what to do first: wait for a place in the ramp, hear what the fleet knows, ask it for the
   * probe, or hand the message back.
   */
  enter(id: string | null): Call | 'full' | 'ask' | 'hear' | RetryLater {
    if (this.state === 'closed') {
      if (this.fleet?.mustHear === true) return 'hear'
      return this.ramp.isFull && !this.#terms.observe ? 'full' : this.#begin(id, false)
    }
    const { nowMs } = this
    if (this.#probe !== undefined)
      return this.#refused(id, Math.min(this.#probeEndsAtMs - nowMs, this.#spread(probedWaitMs)), 'being probed')
    if (this.state === 'open') {
      if (nowMs < this.reopensAtMs) return this.#refused(id, this.reopensAtMs - nowMs, 'open')
      if (this.#givesWay(id, nowMs)) return this.#refused(id, givesWayWaitMs, 'open')
    }
    if (this.fleet?.takeGrant() === false) return 'ask'
    if (this.state === 'open') this.#change('half-open')
    return this.#startProbe(id, nowMs)
  }

  succeeded(call: Call): void {
    this.#failures.forget(call.id)
    this.#answered(call)
    this.ramp.succeeded()
    this.ramp.leave()
  }

  /** Judges the error of a call, and returns the error to throw. */
  threw(call: Call, error: unknown, signal: AbortSignal): unknown {
    try {
      if (saysNothing(error, signal)) {
        if (this.#isLive(call)) this.#settle('nothing')
        return error
      }
      // Our own time-out ended it: the dependency did not answer in time.
      const looksDown =
        signal.aborted ||
        // A permanent error is the handler's own verdict on its message, and must reach the dead letter.
        (!isPermanent(error) &&
          asks('circuitBreaker: looksDown', () => this.#terms.looksDown(error), dependencyErrors(error)))
      if (looksDown || isAbandoned(error)) return this.#failed(call, error)
      this.#answered(call)
      return statusOf(error) === 429 ? this.#slowDown(error) : error
    } finally {
      this.ramp.leave()
    }
  }

  /** Opens by what others saw. */
  openFor(ms: number): void {
    this.reopensAtMs = this.nowMs + ms
    this.#endProbe()
    if (this.state === 'open') this.#era++
    else this.#change('open')
  }

  close(): void {
    this.#endProbe()
    this.#openForMs = this.#terms.openMs
    this.#noneBad()
    this.#waiting.clear()
    // Nobody knows how much a dependency can take that is just back.
    this.ramp.begin()
    if (this.state !== 'closed') this.#change('closed')
  }

  #begin(id: string | null, isProbe: boolean): Call {
    this.ramp.enter()
    return { id, era: this.#era, answers: this.#answers, isProbe }
  }

  #startProbe(id: string | null, nowMs: number): Call {
    const { clock, probeTimeoutMs } = this.#terms
    const call = this.#begin(id, true)
    this.#probe = call
    this.#probeEndsAtMs = nowMs + probeTimeoutMs
    this.#cancelProbe = clock.after(
      probeTimeoutMs,
      () => {
        if (!this.#isLive(call)) return
        this.#settle('too-late')
        this.#reopen(undefined)
      },
      true,
    )
    return call
  }

  #answered(call: Call): void {
    const { nowMs } = this
    this.#answers++
    this.answeredAtMs = nowMs
    this.#recent.add(nowMs, call.id, false)
    if (this.#isLive(call)) {
      this.#settle('answered')
      this.close()
    } else if (call.era === this.#era && this.state === 'closed') this.#noneBad()
    this.fleet?.saw('answer')
  }

  #failed(call: Call, error: unknown): unknown {
    const { nowMs } = this
    const before = this.#failures.add(call.id, this.#answers)
    const isFirst = before.times === 0
    if (isFirst) this.#recent.add(nowMs, call.id, true)
    if (this.#isLive(call)) {
      this.#settle('failed')
      this.#reopen(error)
    } else if (call.era === this.#era && this.state === 'closed') {
      this.ramp.failed(nowMs, isFirst, this.#recent.failedShare(nowMs, null))
      if (isFirst) this.#countBad(nowMs, error)
    }
    // Its handler still runs: the stage that holds its lane must be told.
    if (this.#terms.observe || isAbandoned(error)) return error
    if (call.isProbe) return this.#failedProbe(nowMs, error)
    const isProven = this.#isProven(call, before) && this.#terms.random() >= this.#recent.failedShare(nowMs, call.id)
    return isProven ? error : this.#notCounted(before.times + 1, error)
  }

  /**
   * Whether the dependency answers others, so that a failure is the message's own: it answered somebody since the call
   * began. A call that fails at once leaves no time for that. There it is enough that somebody was answered since the
   * message failed before, and that no other message failed for the first time since the last answer.
   */
  #isProven(call: Call, before: Failed): boolean {
    if (this.#answers > call.answers) return true
    return before.times > 0 && this.#answers > before.answers && this.bad === 0
  }

  #countBad(nowMs: number, error: unknown): void {
    this.badSinceMs ??= nowMs
    this.bad++
    if (this.bad >= this.#terms.openAfter) {
      this.#open(this.#openForMs, error)
      this.fleet?.saw('opened')
    } else this.fleet?.saw('failure')
  }

  #noneBad(): void {
    this.bad = 0
    this.badSinceMs = null
  }

  #reopen(error: unknown): void {
    this.#openForMs = Math.min(this.#openForMs * growth, this.#terms.maxOpenMs)
    this.#open(this.#openForMs, error)
  }

  #open(ms: number, error: unknown): void {
    this.reopensAtMs = this.nowMs + Math.max(this.#spread(ms), retryAfterMs(error, this.#terms.clock))
    this.#change('open')
  }

  #failedProbe(nowMs: number, cause: unknown): RetryLater {
    const because = `circuit ${this.#terms.name}: the probe failed`
    return new RetryLater(Math.max(this.reopensAtMs - nowMs, 1), { holds: this.#holds, because, cause })
  }

  #notCounted(failures: number, cause: unknown): RetryLater {
    const { name, random } = this.#terms
    this.unproven++
    if (attemptUnproven.active()) attemptUnproven.publish({ name, error: cause, failures })
    const because = `circuit ${name}: no attempt, since ${name} answers too few others`
    const ms = Math.min(100 * 2 ** Math.min(failures, 9), 5_000) * (0.5 + random() / 2)
    return new RetryLater(ms, { because, cause })
  }

  /** Too many requests: that is an answer. The message comes again at the time that was asked for. Fewer calls go until then. */
  #slowDown(error: unknown): unknown {
    this.ramp.halve(this.nowMs, { starts: true })
    const ms = retryAfterMs(error, this.#terms.clock)
    if (ms === 0 || this.#terms.observe) return error
    return new RetryLater(ms, { because: `${this.#terms.name} takes no more for now`, cause: error })
  }

  #refused(id: string | null, ms: number, how: string): RetryLater | Call {
    if (this.#terms.observe) return this.#begin(id, false)
    this.#waiting.add(id, this.#failures.of(id).times)
    const because = `circuit ${this.#nameToTell()} is ${how}`
    return new RetryLater(Math.max(ms, 1), { holds: this.#holds, because })
  }

  /** The probe is the waiting message with the fewest failures of its own. */
  #givesWay(id: string | null, nowMs: number): boolean {
    const own = this.#failures.of(id).times
    this.#waiting.leave(id)
    return own > 0 && nowMs < this.reopensAtMs + givesWayMs && this.#waiting.hasFewerThan(own)
  }

  #isLive(call: Call): boolean {
    return call === this.#probe && call.era === this.#era
  }

  #settle(result: ProbeResult): void {
    this.#endProbe()
    if (probeSettled.active()) probeSettled.publish({ name: this.#terms.name, result })
    this.fleet?.settled(result)
  }

  #endProbe(): void {
    this.#cancelProbe()
    this.#probe = undefined
  }

  #change(to: CircuitState): void {
    const from = this.state
    this.state = to
    this.#era++
    this.ramp.wakeAll()
    const { name, observe: observed } = this.#terms
    const epoch = this.fleet?.epoch ?? null
    const change: CircuitChange = {
      ...{ name, from, to, observed, scope: this.fleet?.scope ?? 'process' },
      ...(this.group !== null && { group: this.group }),
      ...(epoch !== null && { epoch }),
    }
    if (circuitChanged.active()) circuitChanged.publish(change)
    this.#onChange(change)
  }

  #nameToTell(): string {
    return this.group === null ? this.#terms.name : `${this.#terms.name} for ${this.group}`
  }

  #spread(ms: number): number {
    return ms * (0.75 + this.#terms.random() / 2)
  }
}

/** A wait is no failure. A stop from outside is none either; our own time-out is one. */
function saysNothing(error: unknown, signal: AbortSignal): boolean {
  if (isRetryLater(error)) return true
  if (!signal.aborted) return false
  const reason: unknown = signal.reason
  return !(isHoldfastError(reason) && reason.code === 'timed-out')
}
