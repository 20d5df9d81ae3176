import type { Clock } from '../core/clock.ts'
import type { ActiveRedrive, RedriveStore } from './store.ts'

/** What both routes need. */
export interface RedriveContext {
  readonly store: RedriveStore
  readonly owner: string
  readonly leaseMs: number
  readonly concurrency: number
  readonly stopKeyOnDeath: boolean
  readonly clock: Clock
}

/** Works on one running redrive until it has nothing due, and says how many letters were begun. */
export type Route = (redrive: ActiveRedrive, signal: AbortSignal) => Promise<number>
