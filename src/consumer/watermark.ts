/** One item of a {@link Window}. Extend it with what else must be known about an item. */
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

/** The items of one track that are not done. */
export interface Window<Item> {
  /** How many were added so far: the index of the next entry. */
  readonly added: number
  /** How many are done with everything before them done too; no bound where positions do not matter. */
  readonly passed: number
  readonly size: number
  /** The first item that is not done, where positions matter. */
  readonly oldest: Item | undefined
  add(entry: Entry<Item>): void
  /** Marks an entry as done. Gives the number by which `size` shrank. */
  finish(entry: Entry<Item>): number
}

/**
 * Items of one partition in order of arrival, finished in any order.
 * The oldest unfinished one is what may be committed: everything before it is done, even where offsets have gaps.
 */
export class Watermark<Item> implements Window<Item> {
  #oldest: Entry<Item> | undefined
  #newest: Entry<Item> | undefined
  #added = 0
  #passed = 0

  get added(): number {
    return this.#added
  }

  /** The index of the oldest unfinished entry. */
  get passed(): number {
    return this.#passed
  }

  get size(): number {
    return this.#added - this.#passed
  }

  get oldest(): Item | undefined {
    return this.#oldest?.item
  }

  add(entry: Entry<Item>): void {
    this.#added++
    if (this.#newest === undefined) this.#oldest = entry
    else this.#newest.later = entry
    this.#newest = entry
  }

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

/**
 * A window for brokers that ack each message by itself. It keeps no list: behind one held key 100,000 finished messages
 * of 1 KB would stay in memory (62 MB; 0.2 MB this way).
 */
export class Tally<Item> implements Window<Item> {
  readonly passed: number = Number.POSITIVE_INFINITY
  readonly oldest: undefined
  #added = 0
  #size = 0

  get added(): number {
    return this.#added
  }

  get size(): number {
    return this.#size
  }

  add(): void {
    this.#added++
    this.#size++
  }

  finish(): number {
    this.#size--
    return 1
  }
}
