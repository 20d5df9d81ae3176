/** A reproducible source of chance: the same seed throws the same numbers. */
export interface Dice {
  /** From 0 up to 1. */
  throw(): number
  /** An integer from `from` to `to`, both included. */
  between(from: number, to: number): number
  pick<T>(from: readonly T[]): T
  /** So many of them, each at most once. */
  draw<T>(count: number, from: readonly T[]): T[]
}

/** Each purpose has dice of its own, so that one more throw for one thing changes nothing else. */
export function dice(seed: number, purpose: string): Dice {
  let state = seed >>> 0
  for (const char of purpose) state = Math.imul(state ^ char.charCodeAt(0), 0x9e3779b1) >>> 0

  /** One step of a Weyl sequence, mixed (the finaliser of MurmurHash3). */
  function next(): number {
    state = (state + 0x9e3779b9) >>> 0
    let mixed = state
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32
  }

  const between = (from: number, to: number) => from + Math.floor(next() * (to - from + 1))
  return {
    throw: next,
    between,
    pick(from) {
      const picked = from[between(0, from.length - 1)]
      if (picked === undefined) throw new Error('nothing to pick from')
      return picked
    },
    draw(count, from) {
      const left = [...from]
      const drawn: typeof left = []
      while (drawn.length < count && left.length > 0) drawn.push(...left.splice(between(0, left.length - 1), 1))
      return drawn
    },
  }
}
