import { setImmediate } from 'node:timers'
import type { Clock } from '../core/clock.ts'
import { checkOptions, number } from '../core/options.ts'

/** A clock for tests. It starts at 0 and moves only with `advance()`. */
export interface FakeClock extends Clock {
  /**
   * Lets that much time pass: every timer that falls due runs at its own instant, in order. The work that it
   * started settles before the next one. `advance(0)` runs no timer and lets promises settle.
   */
  advance(ms: number): Promise<void>
  /** How many timers wait. Timers that do not keep a process alive do not count. */
  readonly waiting: number
}

export interface FakeClockOptions {
  /** The value of `wall()` at the start, in ms since 1970. @defaultValue 2025-01-01T00:00:00Z */
  readonly wallMs?: number
}

interface Timer {
  readonly dueMs: number
  readonly idle: boolean
  readonly callback: () => void
}

/** Makes a clock for tests without real time. Timers fire only in `advance()`. */
export function fakeClock(options: FakeClockOptions = {}): FakeClock {
  const { wallMs = Date.UTC(2025, 0, 1) } = checkOptions('fakeClock', options, { wallMs: number() })
  const timers = new Set<Timer>()
  let nowMs = 0

  function next(untilMs: number): Timer | undefined {
    let first: Timer | undefined
    // Sets keep the order of insertion, so timers of one instant run first come, first served.
    for (const timer of timers)
      if (timer.dueMs <= untilMs && (first === undefined || timer.dueMs < first.dueMs)) first = timer
    return first
  }

  return {
    now: () => nowMs,
    wall: () => wallMs + nowMs,
    after(ms, callback, idle = false) {
      // Like Node's, a timer is never due in the instant that sets it.
      const timer = { dueMs: nowMs + Math.max(ms, 1), idle, callback }
      timers.add(timer)
      return () => timers.delete(timer)
    },
    async advance(ms) {
      const untilMs = nowMs + ms
      await settle()
      for (let timer = next(untilMs); timer !== undefined; timer = next(untilMs)) {
        timers.delete(timer)
        nowMs = Math.max(nowMs, timer.dueMs)
        timer.callback()
        await settle()
      }
      nowMs = untilMs
    },
    get waiting() {
      let count = 0
      for (const timer of timers) if (!timer.idle) count++
      return count
    },
  }
}

/** An immediate runs when no promise has anything left to do. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
