import { AsyncLocalStorage } from 'node:async_hooks'
import type { SimulatedProcess } from './process.ts'
import type { Simulation } from './task.ts'

/** What code is doing right now: found through every await, so that real clocks and dice can be led in here. */
export interface Scope {
  readonly simulation: Simulation
  readonly process: SimulatedProcess
  /** The message it works on, or `''`. */
  readonly messageId: string
  /** Simulated calls and waits that it has not got an answer to. With none it waits for the real world. */
  pending: number
  /** Whether it may wait for the real world: users' code may, our own stages never do. */
  readonly watched: boolean
  /** Real time was given to it in vain. */
  stuck: boolean
}

export const scopes: AsyncLocalStorage<Scope> = new AsyncLocalStorage<Scope>()
