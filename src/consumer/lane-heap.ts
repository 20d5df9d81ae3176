interface Ranked<Self> {
  /** Arrival, over all partitions. */
  readonly rank: number
  /** The next one in the run. */
  after: Self | undefined
}

/**
 * Gives the task that arrived first.
 * They mostly come in that order already: those stand in a plain run, linked to each other, and only stragglers pay for
 * the heap. A task is in one of these at a time.
 */
export class LaneHeap<Task extends Ranked<Task>> {
  readonly #heap: Task[] = []
  #next: Task | undefined
  #last: Task | undefined

  get isEmpty(): boolean {
    return this.#next === undefined && this.#heap.length === 0
  }

  get first(): Task | undefined {
    const straggler = this.#heap[0]
    const next = this.#next
    return next === undefined || (straggler !== undefined && straggler.rank < next.rank) ? straggler : next
  }

  push(task: Task): void {
    const last = this.#last
    if (last === undefined) this.#next = task
    else if (task.rank > last.rank) last.after = task
    else return this.#sink(task)
    this.#last = task
  }

  pop(): Task | undefined {
    const first = this.first
    if (first === undefined || first !== this.#next) return this.#popStraggler()
    this.#next = first.after
    if (first.after === undefined) this.#last = undefined
    else first.after = undefined
    return first
  }

  /** Takes the one that `isBetter` prefers to all others. It looks at every task: for rare use. */
  takeBest(isBetter: (task: Task, than: Task) => boolean): Task | undefined {
    const all: Task[] = []
    for (let task = this.pop(); task !== undefined; task = this.pop()) all.push(task)
    let best = all[0]
    for (const task of all) if (best !== undefined && isBetter(task, best)) best = task
    for (const task of all) if (task !== best) this.push(task)
    return best
  }

  *[Symbol.iterator](): Generator<Task> {
    for (let next = this.#next; next !== undefined; next = next.after) yield next
    yield* this.#heap
  }

  #sink(task: Task): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(task)
    while (at > 0) {
      const above = (at - 1) >> 1
      const parent = heap[above]
      if (parent === undefined || parent.rank <= task.rank) break
      heap[at] = parent
      at = above
    }
    heap[at] = task
  }

  #popStraggler(): Task | undefined {
    const heap = this.#heap
    const top = heap[0]
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return top
    let at = 0
    for (;;) {
      let below = 2 * at + 1
      let child = heap[below]
      if (child === undefined) break
      const right = heap[below + 1]
      if (right !== undefined && right.rank < child.rank) {
        below++
        child = right
      }
      if (child.rank >= last.rank) break
      heap[at] = child
      at = below
    }
    heap[at] = last
    return top
  }
}
