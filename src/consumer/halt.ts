import type { Clock } from '../core/clock.ts'
import type { LaneHeap } from './lane-heap.ts'
import type { Task } from './track.ts'

// A circuit that says "at once" must not spin.
const leastHaltMs = 50

/** An item holds the pipeline: only one probe starts at a time, until one succeeds. */
export class Halt<Item> {
  readonly #clock: Clock
  readonly #onDue: () => void
  #state: 'no' | 'waiting' | 'probe-due' | 'probing' = 'no'
  #probe: Task<Item> | undefined
  /** The items that held the pipeline since the halt began. */
  readonly #holders = new Set<Task<Item>>()
  #because: unknown
  #probes = 0
  #isOver = false
  #cancel = (): void => {}

  constructor(clock: Clock, onDue: () => void) {
    this.#clock = clock
    this.#onDue = onDue
  }

  get isOn(): boolean {
    return this.#state !== 'no'
  }

  get isProbeDue(): boolean {
    return this.#state === 'probe-due'
  }

  /**
   * Takes the next probe: one of the tasks that failed least, in turns the oldest and the youngest of them. Messages that
   * fail together stand next to each other in the line. Always the oldest would try each of them, one per window.
   */
  takeProbe(ready: LaneHeap<Task<Item>>): Task<Item> | undefined {
    return ready.takeBest(this.#probes % 2 === 1 ? isYoungerProbe : isOlderProbe)
  }

  get probe(): Task<Item> | undefined {
    return this.#probe
  }

  /** The error of the latest item that began or prolonged the halt. */
  get because(): unknown {
    return this.isOn ? this.#because : undefined
  }

  /** An item holds the pipeline. The first one, and then the probes, decide for how long. */
  begin(task: Task<Item>, error: unknown, afterMs: number): void {
    this.#holders.add(task)
    if (this.isOn && task !== this.#probe) return
    this.#because = error
    this.#probe = undefined
    this.#state = 'waiting'
    if (this.#isOver) return
    this.#cancel = this.#clock.after(Math.max(afterMs, leastHaltMs), () => {
      this.#state = 'probe-due'
      this.#onDue()
    })
  }

  started(task: Task<Item>): void {
    if (this.#state !== 'probe-due') return
    this.#state = 'probing'
    this.#probe = task
    this.#probes++
  }

  /** The probe succeeded, so the halt is over. The other items that held the pipeline were wrong. */
  passed(probe: Task<Item>): void {
    if (probe !== this.#probe) return
    for (const holder of this.#holders) if (holder !== probe) holder.refuted++
    this.#holders.clear()
    this.#probe = undefined
    this.#probes = 0
    this.#state = 'no'
  }

  /** The probe ended in another way. That says nothing about the pipeline: another probe goes. */
  next(probe: Task<Item> | undefined): void {
    if (probe === undefined || probe !== this.#probe) return
    this.#probe = undefined
    this.#state = 'probe-due'
  }

  /** Nothing is left to wait for: no timer may keep the process alive. */
  forget(): void {
    if (this.#state !== 'waiting') return
    this.#cancel()
    this.#state = 'probe-due'
  }

  /** The process ends: a halt goes on without a timer and without a probe. */
  end(): void {
    this.#isOver = true
    this.#cancel()
    if (this.#state === 'probe-due') this.#state = 'waiting'
  }
}

function isOlderProbe<Item>(task: Task<Item>, than: Task<Item>): boolean {
  return task.blame < than.blame || (task.blame === than.blame && task.rank < than.rank)
}

function isYoungerProbe<Item>(task: Task<Item>, than: Task<Item>): boolean {
  return task.blame < than.blame || (task.blame === than.blame && task.rank > than.rank)
}
