import type { Clock } from '../../core/clock.ts'
import { asError, faultOf } from './kafka-errors.ts'

export interface LivenessOptions {
  readonly clock: Clock
  readonly everyMs: number
  readonly sessionMs: number
  /** Beats, where there is a membership to keep up. */
  readonly beat: () => Promise<void> | undefined
  /** The group waits for this member: finish, then join. */
  readonly onRebalance: () => void
  /** The membership is gone. */
  readonly onLost: (error: Error) => void
  /** No beat got through for a whole session: the partitions may be somebody else's. */
  readonly onSilence: (error: Error) => void
  /** A beat got through again. */
  readonly onHeard: () => void
}

export interface Liveness {
  /** The group answered, by a beat or a join. */
  heard(): void
  stop(): void
}

const gone = new Set(['UNKNOWN_MEMBER_ID', 'ILLEGAL_GENERATION', 'FENCED_INSTANCE_ID'])

/** Whether an answer of the group says that this membership is over. */
export function isGone(error: unknown): boolean {
  return gone.has(faultOf(error).type ?? '')
}

/** Beats on a timer of its own: kafkajs does so only between batches, and a drain takes longer than that. */
export function liveness(options: LivenessOptions): Liveness {
  const { clock, everyMs, sessionMs, beat, onRebalance, onLost, onSilence, onHeard } = options
  let heardMs = clock.now()
  let silent = false
  let cancel = clock.after(everyMs, tick)

  function tick(): void {
    cancel = clock.after(everyMs, tick)
    // Looked at here rather than when an answer comes: there may never be one.
    if (!silent && clock.now() - heardMs >= sessionMs) {
      silent = true
      onSilence(new Error(`no heartbeat got through for ${sessionMs} ms`))
    }
    beat()?.catch((error: unknown) => {
      if (isGone(error)) onLost(asError(error))
      else if (faultOf(error).type === 'REBALANCE_IN_PROGRESS') {
        heardMs = clock.now()
        onRebalance()
      }
    })
  }

  return {
    heard() {
      heardMs = clock.now()
      if (silent) {
        silent = false
        onHeard()
      }
    },
    stop: () => cancel(),
  }
}
