import { HoldfastError } from '../../core/errors.ts'
import { emitter } from '../../core/events.ts'
import type { CircuitAnswer, CircuitExchange, CircuitRegister, Circuits, CircuitSight } from '../store.ts'
import type { LocalCircuit } from './local-circuit.ts'
import type { CircuitTerms, Fleet, ProbeResult } from './terms.ts'

const shareChanged = emitter('share-changed')

const answerWithinMs = 500
const urgentEveryMs = 50
// While somebody else probes: it may be back at any time.
const probedWaitMs = 250
const lateMs = 10_000

/** Who may probe: granted by the fleet under an epoch, or by this process to itself. */
type Grant = { readonly epoch: number; readonly sentAtMs: number } | 'own'

type Known = CircuitRegister & { readonly untilMs: number; readonly prober?: string | null }

/**
 * One circuit of a fleet: tells what this process sees, takes over what the fleet decides, and probes only when it is
 * granted. While the store does not answer, this process decides for itself.
 */
export class FleetCircuit implements Fleet {
  readonly #name: string
  readonly #circuits: Circuits
  readonly #local: LocalCircuit
  readonly #terms: CircuitTerms
  readonly #owner: string
  readonly #leaseMs: number
  #known: Known = { state: 'closed', epoch: 0, leftMs: 0, untilMs: 0 }
  #online = true
  #opened = false
  #grant: Grant | undefined
  #probing: Grant | undefined
  #asking: Promise<void> | undefined
  #hearing: Promise<void> | undefined
  #reportedAtMs = -Infinity
  /** This process saw a failure that it has not reported. */
  #untold = false
  #toldAtMs = -Infinity
  #heardAtMs = -Infinity
  /** Without the store, processes spread their first probes over one window. */
  #spread = false

  constructor(name: string, circuits: Circuits, local: LocalCircuit, terms: CircuitTerms, owner: string) {
    this.#name = name
    this.#circuits = circuits
    this.#local = local
    this.#terms = terms
    this.#owner = owner
    // A grant is used up to the half of its lease, and its probe ends within the other half.
    this.#leaseMs = 2 * terms.probeTimeoutMs
  }

  get scope(): 'process' | 'fleet' {
    return this.#online && this.#known.epoch > 0 ? 'fleet' : 'process'
  }

  get epoch(): number | null {
    return this.#known.epoch === 0 ? null : this.#known.epoch
  }

  /** The process that probes now, as far as this one has heard. */
  get prober(): string | null {
    return this.#known.state === 'half-open' ? (this.#known.prober ?? null) : null
  }

  get online(): boolean {
    return this.#online
  }

  get isProbing(): boolean {
    return this.#probing !== undefined
  }

  takeGrant(): boolean {
    const grant = this.#grant
    this.#grant = undefined
    // The event loop may have stood still since: another process may be the probe by now.
    if (grant === undefined || (grant !== 'own' && this.#nowMs - grant.sentAtMs > this.#leaseMs / 2)) return false
    this.#probing = grant
    return true
  }

  ask(): Promise<void> {
    this.#asking ??= this.#ask().finally(() => (this.#asking = undefined))
    return this.#asking
  }

  /** The others may know already that the dependency is down: a process in doubt asks before it calls. */
  get mustHear(): boolean {
    if (!this.#online || this.#terms.observe || this.#local.bad === 0) return false
    return this.#untold || this.#nowMs - this.#heardAtMs >= urgentEveryMs
  }

  hear(): Promise<void> {
    this.#hearing ??= this.#hear().finally(() => {
      this.#hearing = undefined
      // It failed again while its report was on its way.
      if (this.#untold && this.#isInDoubt) void this.hear()
    })
    return this.#hearing
  }

  saw(what: 'answer' | 'failure' | 'opened'): void {
    if (what === 'opened') this.#opened = true
    if (what === 'answer') this.#beat()
    else {
      this.#untold = true
      void this.hear()
    }
  }

  settled(result: ProbeResult): void {
    const grant = this.#probing
    this.#probing = undefined
    const told = result === 'too-late' ? 'failed' : result
    if (told === 'answered') this.#opened = false
    // A late success was told as a failure already; the epoch keeps out what comes after its lease.
    const known =
      grant === undefined || grant === 'own' ? this.#register() : { ...this.#register(), epoch: grant.epoch }
    void this.#exchange('settle', known, told).then((answer) => answer !== undefined && this.#adopt(answer))
  }

  async #ask(): Promise<void> {
    const sentAtMs = this.#nowMs
    const answer = await this.#exchange('ask', this.#register())
    if (answer === undefined) return this.#decideAlone()
    this.#spread = false
    this.#adopt(answer)
    if (answer.granted) this.#grant = { epoch: answer.epoch, sentAtMs }
    else if (answer.state !== 'closed') this.#waitFor(answer)
    // The others are answered: it is this process alone that is cut off, and it probes for itself.
    else if (this.#opened) this.#grant = 'own'
    else if (this.#local.state !== 'closed') this.#close()
  }

  #decideAlone(): void {
    if (this.#spread) {
      this.#grant = 'own'
      return
    }
    this.#spread = true
    this.#local.openFor(Math.max(1, this.#terms.random() * this.#local.windowMs))
  }

  #waitFor({ state, leftMs }: CircuitAnswer): void {
    const ms = state === 'half-open' ? Math.min(leftMs, probedWaitMs) : leftMs
    this.#local.openFor(Math.max(1, ms * (0.75 + this.#terms.random() / 2)))
  }

  #close(): void {
    this.#opened = false
    this.#local.close()
  }

  #adopt(answer: CircuitAnswer): void {
    if (answer.epoch < this.#known.epoch) return
    const isNews = answer.epoch > this.#known.epoch
    this.#known = { ...answer, untilMs: this.#nowMs + answer.leftMs }
    if (!isNews || answer.granted || this.#terms.observe) return
    if (answer.state !== 'closed') this.#waitFor(answer)
    else if (this.#local.state !== 'closed') this.#close()
  }

  #beat(): void {
    if (this.#hearing === undefined && this.#nowMs - this.#reportedAtMs >= this.#circuits.beatMs) void this.#report()
  }

  /** A failure is reported at once, but not each of many, and only where no call was answered meanwhile. */
  async #hear(): Promise<void> {
    const inMs = this.#untold ? this.#toldAtMs + urgentEveryMs - this.#nowMs : 0
    if (inMs > 0) await new Promise<void>((resolve) => void this.#terms.clock.after(inMs, resolve, true))
    if (this.#isInDoubt) await this.#report()
  }

  get #isInDoubt(): boolean {
    return this.#local.bad > 0 || this.#opened
  }

  async #report(): Promise<void> {
    this.#reportedAtMs = this.#nowMs
    if (this.#untold) this.#toldAtMs = this.#nowMs
    this.#untold = false
    const answer = await this.#exchange('report', this.#register())
    if (answer === undefined) return
    this.#heardAtMs = this.#nowMs
    this.#adopt(answer)
  }

  #register(): CircuitRegister {
    const { state, epoch, untilMs } = this.#known
    return { state, epoch, leftMs: Math.max(0, untilMs - this.#nowMs) }
  }

  #sight(): CircuitSight {
    const { bad, badSinceMs, answeredAtMs } = this.#local
    const ageOf = (atMs: number | null): number | null => (atMs === null ? null : Math.max(0, this.#nowMs - atMs))
    const answerAgeMs = ageOf(answeredAtMs)
    if (this.#terms.observe) return { vote: 'none', bad: 0, badAgeMs: null, answerAgeMs: null }
    const works = answerAgeMs !== null && answerAgeMs < lateMs
    return { vote: this.#opened ? 'open' : works ? 'works' : 'none', bad, badAgeMs: ageOf(badSinceMs), answerAgeMs }
  }

  /** `undefined` where the store does not answer in time. */
  async #exchange(
    what: CircuitExchange['do'],
    known: CircuitRegister,
    result?: 'answered' | 'failed' | 'nothing',
  ): Promise<CircuitAnswer | undefined> {
    const { openAfter, openMs, maxOpenMs, clock } = this.#terms
    const rules = { openAfter, openMs, maxOpenMs, leaseMs: this.#leaseMs }
    const common = { do: what, owner: this.#owner, known, sight: this.#sight(), rules }
    const late = Promise.withResolvers<never>()
    const cancel = clock.after(
      answerWithinMs,
      () =>
        late.reject(new HoldfastError('unavailable', `${this.#circuits.name} did not answer in ${answerWithinMs} ms`)),
      true,
    )
    try {
      const sent = this.#circuits.exchange(this.#name, result === undefined ? common : { ...common, result })
      const answer = await Promise.race([sent, late.promise])
      this.#tell(true)
      return answer
    } catch (error) {
      this.#tell(false, error)
      return undefined
    } finally {
      cancel()
    }
  }

  #tell(online: boolean, error?: unknown): void {
    if (online === this.#online) return
    this.#online = online
    const { name: share } = this.#circuits
    if (shareChanged.active()) shareChanged.publish({ name: this.#terms.name, share, online, error })
  }

  get #nowMs(): number {
    return this.#terms.clock.now()
  }
}
