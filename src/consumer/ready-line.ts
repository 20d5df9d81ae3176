import { LaneHeap } from './lane-heap.ts'

interface Ranked<Self> {
  readonly rank: number
  after: Self | undefined
  /** Whether it stands in a track that gives way to others. */
  readonly track: { readonly yields: boolean }
}

/** Gives tasks of the tracks with priority first. While others wait too, they get `floor` of the starts, so they go on. */
export class ReadyLine<Task extends Ranked<Task>> extends LaneHeap<Task> {
  readonly #others = new LaneHeap<Task>()
  readonly #floor: number
  #owed = 0

  constructor(floor: number) {
    super()
    this.#floor = floor
  }

  override get isEmpty(): boolean {
    return super.isEmpty && this.#others.isEmpty
  }

  override push(task: Task): void {
    if (task.track.yields) this.#others.push(task)
    else super.push(task)
  }

  override pop(): Task | undefined {
    if (this.#others.isEmpty) return super.pop()
    if (super.isEmpty) return this.#others.pop()
    this.#owed += this.#floor
    if (this.#owed < 1) return super.pop()
    this.#owed -= 1
    return this.#others.pop()
  }

  override *[Symbol.iterator](): Generator<Task> {
    yield* super[Symbol.iterator]()
    yield* this.#others
  }
}

/** In the order of arrival, where nothing has priority. */
export function readyLine<Task extends Ranked<Task>>(floor: number | undefined): LaneHeap<Task> {
  return floor === undefined ? new LaneHeap() : new ReadyLine(floor)
}
