interface Ranked {
  /** Arrival of its first message, over all partitions. */
  rank: number
}

/**
 * Gives the lane whose first message arrived first.
 * Lanes mostly come in that order already: those stand in a plain run, and only stragglers pay for the heap.
 */
export class LaneHeap<Lane extends Ranked> {
  readonly #heap: Lane[] = []
  #run: (Lane | undefined)[] = []
  #head = 0
  #lastRank = -1

  get size(): number {
    return this.#heap.length + this.#run.length - this.#head
  }

  get first(): Lane | undefined {
    const straggler = this.#heap[0]
    const next = this.#run[this.#head]
    return next === undefined || (straggler !== undefined && straggler.rank < next.rank) ? straggler : next
  }

  push(lane: Lane): void {
    if (this.#head === this.#run.length || lane.rank > this.#lastRank) {
      this.#lastRank = lane.rank
      this.#run.push(lane)
    } else this.#sink(lane)
  }

  pop(): Lane | undefined {
    const straggler = this.#heap[0]
    const next = this.#run[this.#head]
    if (next === undefined || (straggler !== undefined && straggler.rank < next.rank)) return this.#popStraggler()
    this.#run[this.#head++] = undefined
    if (this.#head === this.#run.length) {
      this.#run.length = 0
      this.#head = 0
    } else if (this.#head >= 1024 && this.#head * 2 > this.#run.length) {
      this.#run = this.#run.slice(this.#head)
      this.#head = 0
    }
    return next
  }

  #sink(lane: Lane): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(lane)
    while (at > 0) {
      const above = (at - 1) >> 1
      const parent = heap[above]
      if (parent === undefined || parent.rank <= lane.rank) break
      heap[at] = parent
      at = above
    }
    heap[at] = lane
  }

  #popStraggler(): Lane | undefined {
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
