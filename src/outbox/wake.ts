import type { Clock } from '../core/clock.ts'

/** A wait that others can cut short. A poke that comes while nobody waits is not lost. */
export interface Wake {
  poke(): void
  /** How often it was poked. Take it before looking for work, and hand it to `wait`. */
  pokes(): number
  /** Until `ms` have passed, the signal aborts, or a poke came after `seen` was taken. Never rejects. */
  wait(ms: number, seen: number, signal: AbortSignal): Promise<void>
}

export function wake(clock: Clock): Wake {
  const waiting = new Set<() => void>()
  let pokes = 0
  return {
    poke() {
      pokes++
      for (const end of [...waiting]) end()
    },
    pokes: () => pokes,
    wait(ms, seen, signal) {
      if (signal.aborted || pokes !== seen) return Promise.resolve()
      return new Promise((resolve) => {
        const cancel = clock.after(ms, end)
        function end(): void {
          cancel()
          waiting.delete(end)
          signal.removeEventListener('abort', end)
          resolve()
        }
        waiting.add(end)
        signal.addEventListener('abort', end)
      })
    },
  }
}
