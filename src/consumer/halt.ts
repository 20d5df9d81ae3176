import type { Clock } from '../core/clock.ts'
import type { Task } from './track.ts'

// A circuit that says "at once" must not spin.
const leastHaltMs = 50

/** The state of a pipeline that an item said it holds: nothing starts but one probe at a time, until one got through. */
export class Halt<Item> {
  readonly #clock: Clock
  readonly #onDue: () => void
  #state: 'no' | 'waiting' | 'probe-due' | 'probing' = 'no'
  #probe: Task<Item> | undefined
  /** The items that said so since the halt began. */
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
   * Every second probe of a halt is the youngest of those that failed least, and not the oldest. A burst of messages that
   * fail together stands side by side in the line: the oldest first would try each of them, one each window.
   */
  get wantsYoungest(): boolean {
    return this.#probes % 2 === 1
  }

  get probe(): Task<Item> | undefined {
    return this.#probe
  }

  /** What the latest item that began or prolonged the halt rejected with. */
  get because(): unknown {
    return this.isOn ? this.#because : undefined
  }

  /** An item that ran said that the pipeline is held. The first one, and then the probes, decide for how long. */
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

  /** The probe got through, so the halt is over. The others that held the pipeline were refuted. */
  passed(probe: Task<Item>): void {
    if (probe !== this.#probe) return
    for (const holder of this.#holders) if (holder !== probe) holder.refuted++
    this.#holders.clear()
    this.#probe = undefined
    this.#probes = 0
    this.#state = 'no'
  }

  /** The probe ended in another way. That says nothing of the pipeline, so another one goes. */
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
