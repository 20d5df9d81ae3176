import type { SimulatedProcess } from './process.ts'
import type { Task } from './task.ts'

export interface Timer {
  readonly dueMs: number
  /** Keeps nobody waiting: a run ends although it is not due yet. */
  readonly idle: boolean
  readonly task: Task
  cancelled: boolean
}

/** Tasks that wait for virtual time, the earliest first; of one instant, the oldest first. */
export interface Timers {
  add(dueMs: number, task: Task, idle?: boolean): Timer
  /** Those that are due now, to be queued. */
  takeDue(nowMs: number): readonly Task[]
  next(): Timer | undefined
  /** Whether any is left that the run has to wait for. */
  keepAlive(): boolean
  readonly isEmpty: boolean
  forget(process: SimulatedProcess): void
  clear(): void
}

const none: readonly Task[] = []

export function timerList(): Timers {
  let timers: Timer[] = []
  return {
    add(dueMs, task, idle = false) {
      const timer = { dueMs, idle, task, cancelled: false }
      let place = timers.length
      while (place > 0 && (timers[place - 1]?.dueMs ?? 0) > dueMs) place--
      timers.splice(place, 0, timer)
      return timer
    },
    takeDue(nowMs) {
      let [timer] = timers
      // Nearly always nothing is due.
      if (timer === undefined || (!timer.cancelled && timer.dueMs > nowMs)) return none
      const due: Task[] = []
      for (; timer !== undefined && (timer.cancelled || timer.dueMs <= nowMs); [timer] = timers) {
        timers.shift()
        if (!timer.cancelled) due.push(timer.task)
      }
      return due
    },
    next: () => timers.find(({ cancelled }) => !cancelled),
    keepAlive: () => timers.some(({ idle, cancelled }) => !idle && !cancelled),
    get isEmpty() {
      return timers.length === 0
    },
    forget(process) {
      timers = timers.filter(({ task }) => task.process !== process)
    },
    clear() {
      timers = []
    },
  }
}
