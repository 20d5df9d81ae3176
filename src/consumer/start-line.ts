import type { LaneHeap } from './lane-heap.ts'
import type { LanesOptions } from './lanes-options.ts'
import { readyLine } from './ready-line.ts'
import type { LaneTrack, Task } from './track.ts'

/** The lanes that may start, in line, and what may stand in it. */
export class StartLine<Item> {
  /** Their first tasks. */
  readonly ready: LaneHeap<Task<Item>>
  /** A drain of all tracks: those that open now drain too. */
  isDraining = false
  /** No item that was nacked runs again. */
  isQuitting = false
  readonly #ahead: number

  constructor({ floor, ahead }: Pick<LanesOptions<Item>, 'floor' | 'ahead'>) {
    this.ready = readyLine(floor)
    this.#ahead = ahead
  }

  get isEmpty(): boolean {
    return this.ready.isEmpty
  }

  /** Puts a lane in line, where it may start. */
  offer(task: Task<Item>): void {
    const { track } = task
    if (this.isQuitting && task.nacks > 0) return
    if (task.index > this.lastAllowed(track)) return track.waiting.push(task)
    track.ready++
    this.ready.push(task)
  }

  /** The highest index of the track that may start. */
  lastAllowed(track: LaneTrack<Item>): number {
    if (!track.draining) return track.window.passed + this.#ahead - 1
    return track.positions ? track.startedTo : -1
  }

  /** A drain or the end has begun: lanes in line that may not start any more leave the line. */
  setAside(): void {
    const all: Task<Item>[] = []
    for (let task = this.ready.pop(); task !== undefined; task = this.ready.pop()) all.push(task)
    for (const task of all) {
      if (task.track.closed) continue
      task.track.ready--
      this.offer(task)
    }
  }

  /** Lanes of the track that were too far ahead, or outside a drain, come into line. */
  wake(track: LaneTrack<Item>): void {
    const last = this.lastAllowed(track)
    for (let { first } = track.waiting; first !== undefined && first.index <= last; { first } = track.waiting) {
      track.waiting.pop()
      this.offer(first)
    }
  }

  /** A task of a closed track has ended: its key may go on in the ownership after it. Says whether it does. */
  goOnAfter(task: Task<Item>): boolean {
    const next = task.track.ended(task)
    if (next !== undefined) this.offer(next)
    return next !== undefined
  }
}
