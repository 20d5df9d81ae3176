import type { ClaimLane } from '../../core/parking.ts'
import type { HeldClaim, TransactionalIdempotencyStore } from '../../idempotency/store.ts'
import type { ClaimTable } from './claim-table.ts'
import type { SimulatedProcess } from './process.ts'
import type { Simulation } from './task.ts'

/** What the simulated database keeps beside the claims: messages that are parked. */
export interface BesideClaims {
  /** Whether a claim that asks with that lane has to wait behind what is parked. */
  refuses(lane: ClaimLane): boolean
  /** Whether a message is parked under that claim. */
  has(scope: string, key: string): boolean
  /** Its run is completed, in the transaction that has just been committed. */
  completed(held: HeldClaim): void
  /** The store of one process, which parks too. */
  storeFor(
    process: SimulatedProcess,
    claims: TransactionalIdempotencyStore,
    call: DatabaseCall,
  ): TransactionalIdempotencyStore
}

/** Makes it for one run. */
export type MakesBeside = (simulation: Simulation, claims: ClaimTable) => BesideClaims

export interface DatabaseCallOptions {
  /** The claims whose rows the call writes: it waits while a transaction has locked one of them. */
  readonly writes?: readonly Pick<HeldClaim, 'scope' | 'key'>[]
  /** Leaves it out of the timeline: polls. */
  readonly quiet?: boolean
}

/** One call of a process to the database. */
export type DatabaseCall = <T>(name: string, apply: () => T | Promise<T>, options?: DatabaseCallOptions) => Promise<T>
