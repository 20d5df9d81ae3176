import type { Clock } from '../../core/clock.ts'
import type { Delivery } from '../../core/delivery.ts'
import {
  attemptsBefore,
  failureFrom,
  isAbandoned,
  isRetryLater,
  judge,
  noteClaim,
  PermanentError,
  RetryLater,
  textOf,
} from '../../core/errors.ts'
import { emitter } from '../../core/events.ts'
import { headerText, type Bytes } from '../../core/message.ts'
import type { ClaimLane, Following, NotHandled, Parking, ParkingClaim, ParkingTerms } from '../../core/parking.ts'
import { generationOf, replacesHeader } from '../../core/redrive.ts'
import { untilAborted } from '../../core/signals.ts'
import { plainText } from '../../core/text.ts'
import { pack } from './envelope.ts'
import { FollowerRun } from './follower-run.ts'
import { laneOf } from './lane.ts'
import type { Appended, AppendRequest, Packed, ParkingStore } from './store.ts'

export interface ParkingSettings extends ParkingTerms {
  readonly store: ParkingStore
  readonly parkAfterMs: number
  readonly maxPerKey: number
  readonly maxLanes: number
  readonly clock: Clock
}

const about = emitter('parking')
const parked = emitter('parked')
const appended = emitter('appended')
const full = emitter('parking-full')
const tooOld = emitter('parked-too-old')

const storeFailed = emitter('store-failed')

const mostHints = 10_000
const countEveryMs = 1_000
const fullWaitMs = 1_000
const changingWaitMs = 50
const downWaitMs = 1_000
const mostRounds = 3
const isParked = { state: 'parked' } as const

/** What one pipeline knows of its lanes: hints that save a claim, and never the truth. The store decides. */
export class LaneKeeper {
  readonly settings: ParkingSettings
  readonly #hints = new Set<string>()
  readonly #runs = new WeakMap<object, FollowerRun>()
  #lanes: { readonly many: Promise<boolean>; readonly untilMs: number } | undefined

  constructor(settings: ParkingSettings) {
    this.settings = settings
  }

  isLikely(lane: string): boolean {
    return this.#hints.has(lane)
  }

  sawParked(lane: string): void {
    // A lane of one message says nothing about any other.
    if (!this.settings.ordered) return
    if (this.#hints.size >= mostHints) this.#hints.clear()
    this.#hints.add(lane)
  }

  sawFree(lane: string): void {
    this.#hints.delete(lane)
  }

  runOf({ run }: Following): FollowerRun {
    const known = this.#runs.get(run) ?? new FollowerRun(this.settings.store)
    this.#runs.set(run, known)
    return known
  }

  /** Whether the pipeline has so many lanes that no new one is to be made. */
  hasTooMany(pipeline: string): Promise<boolean> {
    const { store, maxLanes, clock } = this.settings
    const nowMs = clock.now()
    if (this.#lanes === undefined || this.#lanes.untilMs <= nowMs) {
      const many = store.countLanes(pipeline, maxLanes).then((lanes) => lanes >= maxLanes)
      this.#lanes = { many, untilMs: nowMs + countEveryMs }
      // A failure is nothing to remember.
      many.catch(() => (this.#lanes = undefined))
    }
    return this.#lanes.many
  }
}

/** What `idempotency()` asks for one delivery. */
export class ParkingPlace implements Parking {
  readonly #keeper: LaneKeeper
  readonly #delivery: Delivery<Bytes>
  #name: string | undefined
  /** Of the claim: what is parked has it too. */
  #fingerprint: string | null = null

  constructor(keeper: LaneKeeper, delivery: Delivery<Bytes>) {
    this.#keeper = keeper
    this.#delivery = delivery
  }

  get lane(): ClaimLane {
    const { pipeline, parked: run } = this.#delivery
    return { pipeline, name: this.#lane(), token: run?.token ?? null }
  }

  /** Of a message that is likely to be parked, or runs in a lane, the ordinary claim tells more. */
  get mayClaimInside(): boolean {
    const { first = false, parked: run, following } = this.#delivery
    return first && run === undefined && following === undefined && !this.#keeper.isLikely(this.#lane())
  }

  async claim<Answer extends { readonly state: string }>(
    claim: ParkingClaim,
    ask: (lane: ClaimLane) => Promise<Answer>,
  ): Promise<Answer | typeof isParked> {
    this.#fingerprint = claim.fingerprint
    const { parked: run, following } = this.#delivery
    const { lane } = this
    const { name } = lane
    if (run !== undefined) {
      const answer = await ask(lane)
      if (answer.state === 'parked') throw this.#wait(0, 'another worker holds its lane')
      if (answer.state === 'failed') run.onFailed()
      return answer
    }
    if (following !== undefined) return this.#follow(following, claim, name)
    if ((claim.generation ?? 0) > 0 && (await this.#rejoin(claim, name))) return isParked
    if (this.#keeper.isLikely(name) && (await this.#append(claim, name))) return isParked
    for (let round = 0; round < mostRounds; round++) {
      const answer = await ask(lane)
      if (answer.state !== 'parked') return answer
      if (await this.#append(claim, name)) return isParked
    }
    // Somebody else still holds its claim, or the lane ends and begins again and again.
    throw this.#wait(changingWaitMs, 'its lane is changing')
  }

  async park(given: NotHandled): ReturnType<Parking['park']> {
    const { thrown: error, final } = given
    const { parkAfterMs, whenDead } = this.#keeper.settings
    const { draining, parked: run } = this.#delivery
    if (isAbandoned(error) || given.lease.signal.aborted) return undefined
    if (run !== undefined) {
      const dead = this.#tooOld(given, run.waitedMs)
      if (dead !== undefined || (final && !isRetryLater(error))) run.onFailed()
      return dead
    }
    if (!isRetryLater(error)) return final && whenDead === 'block-key' ? this.#park(given, null) : undefined
    // A wait that a shutdown cut short is no wait that the message needs.
    if (error.holds !== 'message' || draining?.aborted === true) return undefined
    if (error.afterMs < parkAfterMs && !error.parks) return undefined
    const name = this.#lane()
    if (!this.#keeper.isLikely(name) && (await this.#hasTooMany())) {
      if (full.active()) full.publish({ delivery: this.#delivery, lane: name, full: 'lanes' })
      return undefined
    }
    return this.#park(given, error.afterMs)
  }

  async #park(given: NotHandled, afterMs: number | null): Promise<'parked'> {
    const { thrown: error, retainMs } = given
    const attempts = attemptsOf(given, this.#delivery)
    const { held, signal } = given.lease
    const fingerprint = this.#fingerprint
    const { store } = this.#keeper.settings
    const { pipeline, message } = this.#delivery
    const lane = this.#lane()
    const dead = afterMs === null
    const why = textOf(isRetryLater(error) ? (error.cause ?? error) : error)
    const asked = store.park({
      ...this.#packed(),
      held,
      pipeline,
      lane,
      afterMs,
      attempts,
      fingerprint,
      retainMs,
      generation: generationOf(message.headers),
      error: plainText(`${why.errorName}: ${why.errorMessage}`),
      failure: dead ? failureFrom(error, message.id, attempts) : null,
    })
    const answer = await untilAborted(signal, asked).catch((cause: unknown) => {
      throw this.#down(cause)
    })
    if (answer === 'lost') throw this.#wait(0, 'its lease was lost')
    this.#keeper.sawParked(lane)
    if (parked.active()) parked.publish({ delivery: this.#delivery, lane, afterMs, error })
    if (!dead) return 'parked'
    noteClaim(error, message.id, held.scope, held.key)
    throw error
  }

  /** An operator sent it again. Without a key it is in order with nothing, unless it blocks its own lane. */
  async #rejoin({ scope, key, fingerprint, generation = 0 }: ParkingClaim, lane: string): Promise<boolean> {
    const { store, ordered } = this.#keeper.settings
    const { pipeline, message } = this.#delivery
    if (!ordered) return false
    const replaces = headerText(message.headers, replacesHeader) ?? null
    const request = { ...this.#packed(), pipeline, lane, scope, key, fingerprint, generation, replaces }
    if ((await store.rejoin(request)) === 'again') return false
    this.#keeper.sawParked(lane)
    if (appended.active()) appended.publish({ delivery: this.#delivery, lane })
    return true
  }

  #hasTooMany(): Promise<boolean> {
    return this.#keeper.hasTooMany(this.#delivery.pipeline).catch((cause: unknown) => {
      throw this.#down(cause)
    })
  }

  async #append(claim: ParkingClaim, lane: string): Promise<boolean> {
    const { store, maxPerKey: cap } = this.#keeper.settings
    const [answer = 'again'] = await store.append([this.#asked(claim, lane)])
    if (this.#isBehind(answer, lane)) return true
    if (answer === 'again') return false
    if (full.active()) full.publish({ delivery: this.#delivery, lane, full: 'lane' })
    throw this.#wait(fullWaitMs, `its key has ${cap} parked messages, and no more are taken`)
  }

  /** It was started before those in front of it were done: it may be put behind them, and nothing else. */
  async #follow(following: Following, claim: ParkingClaim, lane: string): Promise<typeof isParked> {
    const isRedriven = (claim.generation ?? 0) > 0
    const run = this.#keeper.runOf(following)
    const answer = isRedriven ? 'again' : await run.append(following.place, this.#asked(claim, lane))
    if (this.#isBehind(answer, lane)) return isParked
    throw this.#wait(0, 'it starts again in its turn')
  }

  #asked({ scope, key, fingerprint, generation = 0 }: ParkingClaim, lane: string): AppendRequest {
    const { maxPerKey: cap } = this.#keeper.settings
    const { pipeline } = this.#delivery
    return { ...this.#packed(), pipeline, lane, scope, key, fingerprint, generation, cap }
  }

  /** Whether that answer says that the message is behind the parked ones. */
  #isBehind(answer: Appended, lane: string): boolean {
    if (answer === 'again') this.#keeper.sawFree(lane)
    else this.#keeper.sawParked(lane)
    if (answer === 'appended' && appended.active()) appended.publish({ delivery: this.#delivery, lane })
    return answer === 'appended' || answer === 'known'
  }

  /** A worker ran it and it has to wait again: for how long may that go on? */
  #tooOld(given: NotHandled, waitedMs: number): Error | undefined {
    const { thrown: error, final } = given
    const { maxAgeMs, onTooOld } = this.#keeper.settings
    if (!isRetryLater(error) || error.holds !== 'message' || waitedMs < maxAgeMs) return undefined
    const delivery = this.#delivery
    if (tooOld.active()) tooOld.publish({ delivery, waitedMs, action: onTooOld })
    if (onTooOld !== 'dead-letter' || !final) return undefined
    const because = `message ${delivery.message.id} was parked for ${Math.round(waitedMs / 1000)} s and still has to wait: ${textOf(error).errorMessage}`
    const dead = new PermanentError(because, { cause: error })
    const { id: messageId } = delivery.message
    judge(dead, { messageId, attempts: attemptsOf(given, delivery), reason: 'permanent' })
    return dead
  }

  #lane(): string {
    return (this.#name ??= this.#delivery.parked?.lane ?? laneOf(this.#delivery, this.#keeper.settings.ordered))
  }

  #packed(): Packed {
    const carried: Record<string, string> = {}
    if (about.active()) about.publish({ delivery: this.#delivery, carried })
    return pack(this.#delivery, carried)
  }

  /** The answer to the park may be lost: what it did shows at the next delivery. */
  #down(cause: unknown): RetryLater {
    const { store } = this.#keeper.settings
    if (storeFailed.active()) storeFailed.publish({ store: store.name, operation: 'park', error: cause })
    const because = `the ${store.name} store did not answer (park)`
    return new RetryLater(downWaitMs, { holds: 'pipeline', because, cause })
  }

  #wait(afterMs: number, because: string): RetryLater {
    return new RetryLater(afterMs, { holds: 'lane', because: `message ${this.#delivery.message.id}: ${because}` })
  }
}

/** A wait is no attempt, unless it says so; what a stage counted is believed. */
function attemptsOf({ thrown: error, lease }: NotHandled, { message }: Delivery): number {
  const counts = !isRetryLater(error) || error.counts
  return attemptsBefore(error, message.id) ?? (counts ? lease.attempts : lease.attempts - 1)
}
