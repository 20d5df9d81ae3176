import { badOption } from '../../core/options.ts'
import { faultKinds, isFault, type Fault } from '../world/faults.ts'

/**
 * One departure from the boring run, in which everybody is served in turn and nothing goes wrong.
 * The list of them is the schedule: what is recorded, replayed, made shorter and kept in a file.
 */
export interface Deviation {
  /** A named place, such as `A.COMMIT m2`, never the number of a step: so it survives when others are left out. */
  readonly at: string
  /** `run` takes another task first, `hold` lets this one wait while others go; all others are faults. */
  readonly do: Fault | 'run' | 'hold'
  /** The task that is run first. */
  readonly then?: string
  readonly ms?: number
  /** How many steps longer. */
  readonly steps?: number
}

/** How large the simulated world is: small ones are easier to read. */
export interface Size {
  readonly messages: number
  readonly consumers: number
  readonly partitions: number
}

export interface Schedule {
  readonly size: Size
  readonly deviations: readonly Deviation[]
}

/** One line that replays a schedule: `m1 c1 p1; lose-reply A.charge m1`. */
export function toLine({ size, deviations }: Schedule): string {
  const head = `m${size.messages} c${size.consumers} p${size.partitions}`
  return [head, ...deviations.map(shown)].join('; ')
}

export function fromLine(line: string): Schedule {
  const [head = '', ...rest] = line.trim().split(/; */)
  const sizes = /^m(\d+) c(\d+) p(\d+)$/.exec(head)
  if (sizes === null) throw badOption('explore', 'replay', 'a line such as "m1 c1 p1; crash A.charge m1"', line)
  const [messages = 1, consumers = 1, partitions = 1] = sizes.slice(1).map(Number)
  return { size: { messages, consumers, partitions }, deviations: rest.map(parsed) }
}

function shown({ at, do: what, then, ms, steps }: Deviation): string {
  const parts = [what, at]
  if (then !== undefined) parts.push(`→ ${then}`)
  if (ms !== undefined) parts.push(`${ms}ms`)
  if (steps !== undefined) parts.push(`+${steps}`)
  return parts.join(' ')
}

function parsed(text: string): Deviation {
  const [, what = '', at = '', then, ms, steps] =
    /^(\S+) (.*?)(?: → (.*?))?(?: (-?\d+)ms)?(?: \+(\d+))?$/.exec(text) ?? []
  if (what !== 'run' && what !== 'hold' && !isFault(what))
    throw badOption('explore', 'replay', `made of known faults (${Object.keys(faultKinds).join(', ')})`, text)
  return {
    at,
    do: what,
    ...(then !== undefined && { then }),
    ...(ms !== undefined && { ms: Number(ms) }),
    ...(steps !== undefined && { steps: Number(steps) }),
  }
}

/** Dice that fall the same on every machine (splitmix32: integers only). */
export function dice(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x9e3779b9) | 0
    let mixed = state ^ (state >>> 16)
    mixed = Math.imul(mixed, 0x21f0aaad)
    mixed ^= mixed >>> 15
    mixed = Math.imul(mixed, 0x735a2d97)
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 4_294_967_296
  }
}
