import type { Clock } from '../../core/clock.ts'
import type { SimulatedProcess } from './process.ts'
import type { Simulation } from './task.ts'

/** The wall clock at the beginning of every run. */
export const startedAtMs: number = Date.UTC(2025, 0, 1)

/** The clock of a process; its wall clock may be off. */
export function simulatedClock(simulation: Simulation, process: SimulatedProcess): Clock {
  return {
    now: () => simulation.nowMs,
    wall: () => startedAtMs + simulation.nowMs + process.skewMs,
    after: (ms, callback, idle = false) => simulation.after(process, ms, callback, { idle }),
  }
}
