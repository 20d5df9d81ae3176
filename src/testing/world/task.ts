import type { Fault } from './faults.ts'
import type { SimulatedProcess } from './process.ts'
import type { Deviation } from '../explorer/schedule.ts'

/** One step that can be taken now. */
export interface Task {
  /** Unique within a run, and the same in every run that takes the same turns. */
  readonly label: string
  /** Whose step it is; `null` for the world's own. */
  readonly process: SimulatedProcess | null
  readonly phase: 'send' | 'reply' | 'timer' | 'event'
  /** What may go wrong where this task is about to run. */
  readonly faults: readonly Fault[]
  /** How often another one was taken although this one was older. */
  passedOver: number
  /** Says whether code of a process may have been woken. */
  readonly run: (deviation: Deviation | undefined) => boolean
}

/** Decides what happens next: at random, by a list, or exhaustively. */
export interface Chooser {
  /** One of the tasks, oldest first. */
  pick(tasks: readonly Task[]): Task
  /** What goes wrong where this task is about to run. `choices` counts these questions. */
  fault(task: Task, choices: number): Deviation | undefined
}

export interface Line {
  readonly atMs: number
  readonly who: string
  readonly text: string
}

export interface Violation {
  readonly invariant: string
  readonly text: string
}

export interface OpOptions {
  readonly faults?: readonly Fault[]
  /** Leaves it out of the timeline: polls. */
  readonly quiet?: boolean
  /** Whether the server refuses, and why. */
  readonly refuses?: (() => string | undefined) | undefined
  /** What to do with a fault that only this call knows. Returns the error that it fails with, if it does. */
  readonly strike?: (deviation: Deviation) => Error | undefined
  /** `apply` leaves the simulation: everybody and virtual time wait for it, but no longer than this. */
  readonly patienceMs?: number | undefined
  /** What the line of this call says besides, once it was carried out. */
  readonly note?: () => string
}

export interface Simulation {
  readonly nowMs: number
  readonly steps: number
  readonly choices: number
  /** A digest of everything that happened, in order. */
  readonly hash: string
  readonly lines: readonly Line[]
  readonly deviations: readonly Deviation[]
  readonly violation: Violation | undefined
  /** Handlers that waited for something outside: a real timer, socket or thread. */
  readonly left: ReadonlySet<string>
  /** Told of a transaction that was committed on a real database. */
  readonly committed: (by: SimulatedProcess, messageId: string, statements: readonly string[]) => void
  /** Dice that fall the same in every run. */
  readonly random: () => number
  say(who: string, text: string): void
  violate(invariant: string, text: string): void
  /** Queues a step. */
  ready(task: Omit<Task, 'passedOver'>): void
  /** Something the world does by itself, later. */
  later(ms: number, label: string, act: () => void): void
  /** Calls back once after that much virtual time; the returned function cancels. */
  after(process: SimulatedProcess, ms: number, callback: () => void, options?: TimerOptions): () => void
  /** One call to a server: the request travels, is carried out in one go, and the answer travels. */
  op<T>(process: SimulatedProcess, name: string, apply: () => T | Promise<T>, options?: OpOptions): Promise<T>
  /**
   * Runs code as this process's. While it is busy, timers that keep no process alive run too.
   * `watched` code that waits for nothing simulated gets real time.
   */
  within<T>(process: SimulatedProcess, messageId: string, work: () => Promise<T>, watched?: boolean): Promise<T>
  crash(process: SimulatedProcess, keepsRequests?: boolean): void
  /** Ends by itself. */
  retire(process: SimulatedProcess): void
  pause(process: SimulatedProcess, ms: number, steps: number): void
  /** Resolves when nothing is left to do, or something was violated. */
  run(): Promise<void>
}

export interface TimerOptions {
  readonly label?: string
  readonly idle?: boolean
}

/** A call that failed on its way; nobody knows whether it was carried out. */
export class ConnectionLostError extends Error {
  readonly code = 'ECONNRESET'
  override readonly name = 'ConnectionLostError'
}

export const callFaults: readonly Fault[] = [
  'crash',
  'crash-after-send',
  'pause',
  'slow',
  'lose-reply',
  'fail',
  'rebalance',
  'stop',
  'outlive',
  'clock-skew',
]
export const timerFaults: readonly Fault[] = ['crash', 'pause', 'rebalance', 'stop']
export const onlyOnSending: ReadonlySet<Fault> = new Set<Fault>([
  'lose-reply',
  'fail',
  'store-down',
  'publisher-down',
  'confirms-late',
  'partial-batch',
])
