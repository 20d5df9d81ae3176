/** One item of a {@link Watermark}. Extend it with what else must be known about an item. */
export class Entry<Item> {
  readonly item: Item
  /** Counted from the first entry of its window. */
  readonly index: number
  done = false
  later: Entry<Item> | undefined = undefined

  constructor(item: Item, index: number) {
    this.item = item
    this.index = index
  }
}

/**
 * Items of one partition in order of arrival, finished in any order.
 * The oldest unfinished one is what may be committed: everything before it is done, whatever gaps the positions have.
 */
export class Watermark<Item> {
  #oldest: Entry<Item> | undefined
  #newest: Entry<Item> | undefined
  #added = 0
  #passed = 0

  /** How many were added so far: the index of the next entry. */
  get added(): number {
    return this.#added
  }

  /** How many are done with everything before them done too: the index of the oldest unfinished entry. */
  get passed(): number {
    return this.#passed
  }

  get size(): number {
    return this.#added - this.#passed
  }

  /** The first item that is not done. */
  get oldest(): Item | undefined {
    return this.#oldest?.item
  }

  add(entry: Entry<Item>): void {
    this.#added++
    if (this.#newest === undefined) this.#oldest = entry
    else this.#newest.later = entry
    this.#newest = entry
  }

  /** Marks an entry as done and gives the number by which the mark moved. */
  finish(entry: Entry<Item>): number {
    entry.done = true
    const before = this.#passed
    let oldest = this.#oldest
    while (oldest !== undefined && oldest.done) {
      const { later } = oldest
      oldest.later = undefined
      oldest = later
      this.#passed++
    }
    this.#oldest = oldest
    if (oldest === undefined) this.#newest = undefined
    return this.#passed - before
  }
}
