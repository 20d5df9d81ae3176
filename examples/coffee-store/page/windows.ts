/** Clicks by product and second: what any store can give. */
export type Clicks = ReadonlyMap<string, ReadonlyMap<number, number>>

export const windowSeconds = 15
export const shownSeconds = 60

/** A window that slides by a second: for each of the last 60 seconds, the clicks of the 15 that end with it. */
export function slide(clicks: Clicks, product: string, nowSecond: number): number[] {
  const seconds = clicks.get(product)
  return Array.from({ length: shownSeconds }, (_, at) => {
    const last = nowSecond - (shownSeconds - 1) + at
    let sum = 0
    for (let second = last - windowSeconds + 1; second <= last; second++) sum += seconds?.get(second) ?? 0
    return sum
  })
}

/** The counts of the embedded store. A late click is right at the next look, and what no window can show is forgotten. */
export class ClickCounts {
  readonly #seconds = new Map<string, Map<number, number>>()
  total = 0

  add(product: string, atMs: number): void {
    const second = Math.floor(atMs / 1000)
    const of = this.#seconds.get(product) ?? new Map<number, number>()
    this.#seconds.set(product, of.set(second, (of.get(second) ?? 0) + 1))
    this.total++
    const oldest = Math.floor(Date.now() / 1000) - windowSeconds - shownSeconds
    for (const each of of.keys()) if (each < oldest) of.delete(each)
  }

  recent(): Clicks {
    return this.#seconds
  }
}
