import type { Failure } from '../../core/errors.ts'

/**
 * Keeps the messages that wait, beside the claims: the same object as the idempotency store, in the same database.
 *
 * The guarantees. A parked message has a lane row. Every park and every append moves the lane's tail, and a lane ends only at
 * a tail that was read as empty: so a message that comes later is either behind the others or finds the lane gone. A message
 * is parked under its claim, once. Only the holder of the claim parks it, only the holder of the lane changes the lane, and
 * nothing is removed by its place. A caller may send any call again if the answer was lost. A rejected call means that the
 * store is down.
 */
export interface ParkingStore {
  /** The kind of store: `postgresql` or `memory`. */
  readonly name: string
  /** Gives the claim back and parks its message, in one step. With `failure` the claim fails for good and the lane is blocked. */
  park(request: ParkRequest): Promise<'ok' | 'lost'>
  /**
   * Puts messages of one lane behind its parked ones, in their order, if the lane is parked: most often one. No claim comes
   * twice in a call. Behind a message that is neither there nor put there, none is put there.
   */
  append(run: readonly AppendRequest[]): Promise<readonly Appended[]>
  /**
   * Puts a message that an operator sent again into its lane, which begins if it is not there: so it does not run beside
   * live messages of its key. Where it is parked already, its row gets the newer generation and the new content, and a lane
   * that is blocked at it goes on. Where it replaces the head that blocks the lane, it takes that place.
   * `again`: the claim knows more, ask for it.
   */
  rejoin(request: RejoinRequest): Promise<'parked' | 'again'>
  /** Leases lanes that are due. Of several workers one gets each lane. */
  claimLanes(request: LanesRequest): Promise<readonly LaneLease[]>
  /** Extends leases to `leaseMs` from now. Returns the tokens that are still held. */
  renewLanes(leases: readonly LaneLease[], leaseMs: number): Promise<readonly bigint[]>
  /** The first rows of a lane and its tail, of one snapshot. `undefined`: the lease is lost. */
  load(lease: LaneLease, limit: number): Promise<LanePage | undefined>
  /** Removes rows that are done. A row with a newer generation stays: an operator sent it again meanwhile. */
  remove(rows: readonly ParkedName[]): Promise<void>
  /** Ends the lane if its tail is still that one. `lost`: more came meanwhile, or the lease is lost. */
  free(lease: LaneLease, tail: bigint): Promise<'ok' | 'lost'>
  /** Gives the lane back, due after `afterMs`. `null` blocks it until an operator acts. `head` is the row that has to wait. */
  reschedule(lease: LaneLease, afterMs: number | null, head?: WaitingHead): Promise<'ok' | 'lost'>
  /** How many lanes the pipeline has, counted no further than `most`. */
  countLanes(pipeline: string, most: number): Promise<number>
  status(pipeline: string): Promise<ParkingStatus>
}

/** A message as it is kept. `envelope` is all but the body. */
export interface Packed {
  readonly envelope: Uint8Array
  readonly body: Uint8Array | null
  /** The key for people to read. */
  readonly keyText: string
}

export interface LaneName {
  readonly pipeline: string
  readonly lane: string
}

export interface ParkRequest extends LaneName, Packed {
  /** The claim under which it was handled. */
  readonly held: { readonly scope: string; readonly key: string; readonly token: bigint }
  /** When the lane is due, if this message makes it. `null`: blocked until an operator acts. */
  readonly afterMs: number | null
  readonly attempts: number
  readonly generation: number
  readonly fingerprint: string | null
  /** Why it waits, for people to read. */
  readonly error: string
  readonly failure: Failure | null
  /** How long a failure is kept. */
  readonly retainMs: number
}

export interface AppendRequest extends LaneName, Packed {
  readonly scope: string
  readonly key: string
  readonly generation: number
  readonly fingerprint: string | null
  /** Most rows of a lane. */
  readonly cap: number
}

export interface RejoinRequest extends Omit<AppendRequest, 'cap'> {
  /** The claim's key of the message that this one was edited from. */
  readonly replaces: string | null
}

/**
 * `appended`, `known`: it is behind the others, now or before. `full`: the lane has `cap` rows. `again`: the lane is not
 * parked, or the claim knows more: ask for the claim.
 */
export type Appended = 'appended' | 'known' | 'again' | 'full'

export interface LanesRequest {
  readonly pipeline: string
  readonly limit: number
  readonly owner: string
  readonly leaseMs: number
}

export interface LaneLease extends LaneName {
  readonly token: bigint
}

export interface LanePage {
  readonly tail: bigint
  readonly rows: readonly ParkedRow[]
}

/** A parked row's name: that of its claim, and the generation with which it runs. */
export interface ParkedName {
  readonly scope: string
  readonly key: string
  readonly generation: number
}

export interface ParkedRow extends ParkedName {
  readonly attempts: number
  readonly envelope: Uint8Array
  readonly body: Uint8Array | null
  readonly ageMs: number
  /** Ms since its first run in the lane had to wait again. 0 before that. */
  readonly waitedMs: number
}

export interface WaitingHead {
  readonly scope: string
  readonly key: string
  readonly attempts: number
  readonly error: string
}

export interface ParkingStatus {
  readonly lanes: number
  readonly rows: number
  readonly blocked: number
  /** The age of the oldest row at the head of a lane. `null` if nothing is parked. */
  readonly oldestAgeMs: number | null
}
