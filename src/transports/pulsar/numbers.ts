import { keepAtMost } from '../../core/bounded.ts'

/** As many as the largest page that is sent again in one piece. */
const remembered = 20_000

/**
 * Which numbers of one name the broker may have. It drops every number that is not above the highest one, also one that it
 * never had: only here is it known whether that is a repeat.
 */
export class Numbers {
  /** The last ones that were sent from here. */
  readonly #sent = new Set<number>()
  #highest = -1
  /** Up to here, others have sent. */
  #others = -1

  /** @param last the highest number that the broker has. */
  attached(last: number): void {
    if (last > this.#highest) this.#others = Math.max(this.#others, last)
  }

  /** It is a repeat, from here or of another process. */
  mayBeThere(number: number): boolean {
    return number <= this.#others || this.#sent.has(number)
  }

  /** The broker would drop it, and it was never sent. */
  goesBack(number: number): boolean {
    return number < this.#highest && !this.mayBeThere(number)
  }

  sent(number: number): void {
    this.#sent.add(number)
    this.#highest = Math.max(this.#highest, number)
    keepAtMost(remembered, this.#sent)
  }
}
