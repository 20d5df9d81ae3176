import type { Clock } from '../../core/clock.ts'
import type { Delivery } from '../../core/delivery.ts'
import { failureFrom, isAbandoned, isRetryLater, PermanentError, RetryLater, textOf } from '../../core/errors.ts'
import { emitter } from '../../core/events.ts'
import { headerText, type Bytes } from '../../core/message.ts'
import type { ClaimLane, NotHandled, Parking, ParkingClaim, ParkingTerms } from '../../core/parking.ts'
import { generationOf, replacesHeader } from '../../core/redrive.ts'
import { plainText } from '../../core/text.ts'
import { pack } from './envelope.ts'
import { laneOf } from './lane.ts'
import type { Packed, ParkingStore } from './store.ts'

export interface ParkingSettings extends ParkingTerms {
  readonly store: ParkingStore
  readonly parkAfterMs: number
  readonly maxPerKey: number
  readonly maxLanes: number
  readonly clock: Clock
  /** False: each message has a lane of its own. */
  readonly ordered: boolean
}

const about = emitter('parking')
const parked = emitter('parked')
const appended = emitter('appended')
const full = emitter('parking-full')
const tooOld = emitter('parked-too-old')

const mostHints = 10_000
const countEveryMs = 1_000
const fullWaitMs = 1_000
const changingWaitMs = 50
const mostRounds = 3
const isParked = { state: 'parked' } as const

/** What one pipeline knows of its lanes: hints that save a claim, and never the truth. The store decides. */
export class LaneKeeper {
  readonly settings: ParkingSettings
  readonly #hints = new Set<string>()
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

  constructor(keeper: LaneKeeper, delivery: Delivery<Bytes>) {
    this.#keeper = keeper
    this.#delivery = delivery
  }

  async claim<Answer extends { readonly state: string }>(
    claim: ParkingClaim,
    ask: (lane: ClaimLane) => Promise<Answer>,
  ): Promise<Answer | typeof isParked> {
    const { pipeline, parked: run } = this.#delivery
    const name = this.#lane()
    const lane = { pipeline, name, token: run?.token ?? null }
    if (run !== undefined) {
      const answer = await ask(lane)
      if (answer.state === 'parked') throw this.#wait(0, 'another worker holds its lane')
      if (answer.state === 'failed') run.onFailed()
      return answer
    }
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
    const { error, final } = given
    const { parkAfterMs, whenDead } = this.#keeper.settings
    const { draining, parked: run } = this.#delivery
    if (isAbandoned(error)) return undefined
    if (run !== undefined) {
      const dead = this.#tooOld(given, run.waitedMs)
      if (dead !== undefined || (final && !isRetryLater(error))) run.onFailed()
      return dead
    }
    if (!isRetryLater(error)) return final && whenDead === 'block-key' ? this.#park(given, null) : undefined
    // A wait that a shutdown cut short is no wait that the message needs.
    if (error.holds !== 'message' || error.afterMs < parkAfterMs || draining?.aborted === true) return undefined
    const name = this.#lane()
    if (!this.#keeper.isLikely(name) && (await this.#keeper.hasTooMany(this.#delivery.pipeline))) {
      if (full.active()) full.publish({ delivery: this.#delivery, lane: name, full: 'lanes' })
      return undefined
    }
    return this.#park(given, error.afterMs)
  }

  async #park(given: NotHandled, afterMs: number | null): Promise<'parked' | 'failed' | 'lost'> {
    const { held, error, attempts, fingerprint, retainMs } = given
    const { store } = this.#keeper.settings
    const { pipeline, message } = this.#delivery
    const lane = this.#lane()
    const dead = afterMs === null
    const why = textOf(isRetryLater(error) ? (error.cause ?? error) : error)
    const answer = await store.park({
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
    if (answer === 'lost') return answer
    this.#keeper.sawParked(lane)
    if (parked.active()) parked.publish({ delivery: this.#delivery, lane, afterMs, error })
    return dead ? 'failed' : 'parked'
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

  async #append({ scope, key, fingerprint, generation = 0 }: ParkingClaim, lane: string): Promise<boolean> {
    const { store, maxPerKey: cap } = this.#keeper.settings
    const { pipeline } = this.#delivery
    const answer = await store.append({ ...this.#packed(), pipeline, lane, scope, key, fingerprint, generation, cap })
    if (answer === 'again') {
      this.#keeper.sawFree(lane)
      return false
    }
    this.#keeper.sawParked(lane)
    if (answer === 'full') {
      if (full.active()) full.publish({ delivery: this.#delivery, lane, full: 'lane' })
      throw this.#wait(fullWaitMs, `its key has ${cap} parked messages, and no more are taken`)
    }
    if (answer === 'appended' && appended.active()) appended.publish({ delivery: this.#delivery, lane })
    return true
  }

  /** A worker ran it and it has to wait again: for how long may that go on? */
  #tooOld({ error, final }: NotHandled, waitedMs: number): { readonly error: unknown } | undefined {
    const { maxAgeMs, onTooOld } = this.#keeper.settings
    if (!isRetryLater(error) || error.holds !== 'message' || waitedMs < maxAgeMs) return undefined
    const delivery = this.#delivery
    if (tooOld.active()) tooOld.publish({ delivery, waitedMs, action: onTooOld })
    if (onTooOld !== 'dead-letter' || !final) return undefined
    const because = `message ${delivery.message.id} was parked for ${Math.round(waitedMs / 1000)} s and still has to wait: ${textOf(error).errorMessage}`
    return { error: new PermanentError(because, { cause: error }) }
  }

  #lane(): string {
    return (this.#name ??= this.#delivery.parked?.lane ?? laneOf(this.#delivery, this.#keeper.settings.ordered))
  }

  #packed(): Packed {
    const carried: Record<string, string> = {}
    if (about.active()) about.publish({ delivery: this.#delivery, carried })
    return pack(this.#delivery, carried)
  }

  #wait(afterMs: number, because: string): RetryLater {
    return new RetryLater(afterMs, { holds: 'lane', because: `message ${this.#delivery.message.id}: ${because}` })
  }
}
