import type { Scope } from './scope.ts'

/** The real world at the edge of a run: calls that really go out, and code that waits for something outside. */
export interface Reality {
  /** A real call is under way: nothing else moves. */
  readonly holds: boolean
  /** Until the call is over, or for so long: then it waits for somebody's lock, and the others go on. */
  readonly standStill: (call: Promise<unknown>, patienceMs: number, onBlocked: () => void) => void
  /** Nothing simulated can run. Says whether real time has to pass first; then `goOn` is called. */
  waits(active: Iterable<Scope>, hasTimers: boolean): boolean
  /** Something simulated could run again. */
  moved(): void
}

export interface RealityOptions {
  readonly goOn: () => void
  /** Goes on once no promise has anything left to do. */
  readonly goOnWhenQuiet: () => void
  /** Told of a message whose handler waits for something outside. */
  readonly onLeft: (messageId: string) => void
}

const longestStuckTries = 40

export function reality({ goOn, goOnWhenQuiet, onLeft }: RealityOptions): Reality {
  let calls = 0
  let holds = false
  /** Only a real call can wake it. */
  let parked = false
  let tries = 0

  return {
    get holds() {
      return holds
    },
    standStill(call, patienceMs, onBlocked) {
      calls++
      let waiting = true
      const resume = (): void => {
        if (!waiting && !parked) return
        waiting = false
        parked = false
        goOnWhenQuiet()
      }
      holds = true
      const giveUp = (): void => {
        if (!waiting) return
        onBlocked()
        holds = false
        resume()
      }
      // On a busy machine the answer may be here already, and only wait for its turn.
      const patience = setTimeout(() => setImmediate(giveUp), patienceMs)
      const over = (): void => {
        clearTimeout(patience)
        calls--
        if (waiting) holds = false
        // After the answer was queued.
        queueMicrotask(() => queueMicrotask(resume))
      }
      call.then(over, over)
    },
    waits(active, hasTimers) {
      if (calls > 0) {
        if (tries++ < 2) {
          setTimeout(goOn, 5)
          return true
        }
        if (!hasTimers) {
          parked = true
          return true
        }
      }
      let waits = false
      for (const scope of active) {
        if (!scope.watched || scope.pending > 0 || scope.stuck || scope.process.state !== 'up') continue
        onLeft(scope.messageId)
        if (tries >= longestStuckTries) scope.stuck = true
        else waits = true
      }
      if (!waits) return false
      if (tries++ < 5) setImmediate(goOn)
      else setTimeout(goOn, 1)
      return true
    },
    moved() {
      tries = 0
    },
  }
}
