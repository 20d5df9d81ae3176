import type { Clock } from '../core/clock.ts'
import type { ActiveRedrive, Lane, RedriveStore } from './store.ts'

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

/** Work may take longer than the lease. A worker that lost a lane goes on, but changes nothing of it any more. */
export function keepRenewing(
  { store, leaseMs, clock }: RedriveContext,
  redrive: string,
  lanes: readonly Lane[],
): () => void {
  let over = false
  let cancel = next()
  function next(): () => void {
    return clock.after(leaseMs / 3, () => {
      store
        .renew(redrive, lanes, leaseMs)
        .catch(() => undefined)
        .finally(() => {
          if (!over) cancel = next()
        })
    })
  }
  return () => {
    over = true
    cancel()
  }
}
