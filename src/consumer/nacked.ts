import { isAbandoned } from '../core/errors.ts'
import type { Halt } from './halt.ts'
import type { LanesOptions } from './lanes-options.ts'
import { redelivery, type Redelivery } from './redelivery.ts'
import type { StartLine } from './start-line.ts'
import type { Task } from './track.ts'

// How often an item may hold the pipeline while others get through. After that it holds its own lane.
const mostRefuted = 3
const nothing = (): void => {}

/** Tasks that failed: each waits with its lane, or holds all lanes, and comes into line again. */
export class Nacked<Item> {
  readonly #options: LanesOptions<Item>
  readonly #line: StartLine<Item>
  readonly #halt: Halt<Item>
  readonly #pump: () => void

  /** @param pump starts what may start. */
  constructor(options: LanesOptions<Item>, line: StartLine<Item>, halt: Halt<Item>, pump: () => void) {
    this.#options = options
    this.#line = line
    this.#halt = halt
    this.#pump = pump
  }

  failed(task: Task<Item>, error: unknown): void {
    const { track } = task
    if (isAbandoned(error)) return this.#holdUntil(task, error.settled, error)
    task.running = false
    track.tellSettled()
    if (track.closed) {
      this.#halt.next(task)
      return this.#goOnAfter(task)
    }
    const { holds, afterMs } = this.#nacked(task, error)
    if (holds === 'pipeline' && task.refuted < mostRefuted) this.#holdAll(task, error, afterMs)
    else this.#holdLane(task, error, holds, afterMs)
  }

  #nacked(task: Task<Item>, error: unknown): Redelivery {
    const { clock, onNack, redeliverMs } = this.#options
    task.attempt = onNack(task.item, error, task.attempt)
    const wanted = redelivery(error, task.nacks, redeliverMs)
    task.track.hold(task, error, clock.now())
    return wanted
  }

  #holdAll(task: Task<Item>, error: unknown, afterMs: number): void {
    // Another one is the next probe, if there is another one.
    if (task === this.#halt.probe) task.blame++
    this.#line.offer(task)
    this.#halt.begin(task, error, afterMs)
  }

  #holdLane(task: Task<Item>, error: unknown, holds: Redelivery['holds'], afterMs: number): void {
    const hold = task.track.held.get(task)
    if (holds !== 'lane') task.blame++
    if (holds === 'pipeline' && hold?.alone === false) {
      hold.alone = true
      this.#options.onHoldsAlone?.(task.item, error)
    }
    if (hold !== undefined && !this.#line.isQuitting)
      hold.cancel = this.#options.clock.after(afterMs, () => {
        hold.cancel = nothing
        this.#line.offer(task)
        this.#pump()
      })
    this.#halt.next(task)
  }

  /** An abandoned handler still runs: nothing of its key may start. */
  #holdUntil(task: Task<Item>, settled: Promise<unknown>, error: unknown): void {
    const { track } = task
    const { clock, onNack } = this.#options
    track.abandoned++
    if (!track.closed) track.hold(task, error, clock.now())
    this.#halt.next(task)
    const goOn = (late: unknown): void => {
      track.abandoned--
      task.running = false
      track.tellSettled()
      if (track.closed) return this.#goOnAfter(task)
      task.attempt = onNack(task.item, late, task.attempt)
      task.blame++
      this.#line.offer(task)
      this.#pump()
    }
    settled.then(goOn, goOn)
  }

  #goOnAfter(task: Task<Item>): void {
    if (this.#line.goOnAfter(task)) this.#pump()
  }
}
