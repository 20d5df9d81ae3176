/**
 * What a parking worker says about a delivery: it holds the lane, so its claim passes a parked lane. The claim is refused
 * as soon as another worker holds the lane.
 */
export interface ParkedRun {
  readonly lane: string
  readonly token: bigint
  /** How long the message has been parked, in ms. */
  readonly ageMs: number
  /** How long ago its first run in the lane ended in another wait, in ms. 0 on its first run. */
  readonly waitedMs: number
  /** What listeners of `parking` noted when it was parked. */
  readonly carried: Readonly<Record<string, string>>
  /** Called if its claim has failed for good, now or before. What dies before its claim blocks nothing. */
  readonly onFailed: () => void
}

/**
 * Says that this message of a parked key was started together with others of its key. It may only be put behind what is
 * parked: else it is nacked, and starts again in its turn.
 */
export interface Following {
  /** The same object for all that were started together. */
  readonly run: object
  /** Counted from 0, in the order of the key. */
  readonly place: number
}

/** The lane that a claim asks about. While the lane is parked, only the worker that holds `token` may claim. */
export interface ClaimLane {
  readonly pipeline: string
  readonly name: string
  /** `null`: not a parking worker. */
  readonly token: bigint | null
}

/** What `parking()` gives the claim of one delivery. */
export interface Parking {
  /** Of a claim inside the transaction, which is refused while this lane is parked. */
  readonly lane: ClaimLane
  /**
   * Asks for the claim with the delivery's lane. Answers `parked` only if the message is durably behind the parked one.
   * @throws RetryLater while the lane is full or changing, and for a worker that has lost its lane.
   */
  claim<Answer extends { readonly state: string }>(
    claim: ParkingClaim,
    ask: (lane: ClaimLane) => Promise<Answer>,
  ): Promise<Answer | { readonly state: 'parked' }>
  /**
   * Told of a delivery that did not succeed, in place of the release. `undefined`: this one is not to be parked.
   * An error is the final one to go on with.
   * @throws the error itself if it was recorded as final, and its key is blocked; RetryLater if another claim took over or
   * the store did not answer.
   */
  park(given: NotHandled): Promise<'parked' | Error | undefined>
}

export interface ParkingClaim {
  readonly scope: string
  readonly key: string
  readonly fingerprint: string | null
  readonly generation?: number
}

export interface NotHandled {
  readonly lease: {
    readonly held: { readonly scope: string; readonly key: string; readonly token: bigint }
    /** Aborts when the claim is lost or the delivery is to end. */
    readonly signal: AbortSignal
    /** Those of the claim, this one included. */
    readonly attempts: number
  }
  readonly thrown: unknown
  /** Whether a dead letter stands outside, so that an error can be final. */
  readonly final: boolean
  readonly retainMs: number
}

/** What a worker must know of the `parking()` stage whose lanes it runs. */
export interface ParkingTerms {
  readonly store: object
  readonly whenDead: 'continue' | 'block-key'
  readonly maxAgeMs: number
  readonly onTooOld: 'dead-letter' | 'alert' | 'block'
  /** False: each message has a lane of its own. */
  readonly ordered: boolean
}
