import { asError } from '../../core/as-error.ts'
import type { Clock } from '../../core/clock.ts'
import { isRebalance } from './kafka-errors.ts'

/** Work that must not outlive the membership of its consumer. */
export interface Beating {
  readonly heartbeat: () => Promise<void>
  /** The membership is lost: stop. Called once. */
  readonly lost: (error: Error) => void
}

export interface Heartbeats {
  /** Beats for as long as it is in here. */
  add(work: Beating): void
  remove(work: Beating): void
}

// Not the shared `Liveness`: that one watches one membership, which may be silent and be heard again. Here every batch has a
// heartbeat function of its own, and ends at its first loss.
interface Beat {
  aliveMs: number
}

/**
 * Beats on one timer for all work that runs, handlers included. A rebalance ends the work at once; an error of another
 * kind does when no beat got through for `sessionMs`, since then the group has given the partitions to others.
 */
export function heartbeats(clock: Clock, everyMs: number, sessionMs: number): Heartbeats {
  const running = new Map<Beating, Beat>()
  let ticking = false

  function tick(): void {
    ticking = running.size > 0
    if (!ticking) return
    for (const [work, state] of running) void beat(work, state)
    clock.after(everyMs, tick, true)
  }

  async function beat(work: Beating, state: Beat): Promise<void> {
    const sentMs = clock.now()
    try {
      await work.heartbeat()
      state.aliveMs = sentMs
    } catch (error) {
      const over = isRebalance(error) || clock.now() - state.aliveMs >= sessionMs
      if (over && running.delete(work)) work.lost(asError(error))
    }
  }

  return {
    add(work) {
      running.set(work, { aliveMs: clock.now() })
      if (ticking) return
      ticking = true
      clock.after(everyMs, tick, true)
    },
    remove(work) {
      running.delete(work)
    },
  }
}
