import type { Clock } from './clock.ts'

/** A place in a {@link Timeline}. Extend it with what `onDue` needs. */
export class Moment {
  dueMs = 0
  before: Moment | undefined
  after: Moment | undefined
}

/** Many deadlines of one length behind one timer: adding and removing cost a few pointers, never a timer. */
export interface Timeline<Entry extends Moment> {
  /** Due `delayMs` after `fromMs` (now, unless told otherwise). An entry stands in one timeline, once. */
  add(entry: Entry, fromMs?: number): void
  /** Does nothing where the entry is not in it. */
  remove(entry: Entry): void
}

/** `onDue` gets each entry once, after it was taken out; it may add it again. */
export function timeline<Entry extends Moment>(
  clock: Clock,
  delayMs: number,
  onDue: (entry: Entry) => void,
): Timeline<Entry> {
  // A ring with a sentinel, oldest first: one length for all keeps it sorted without sorting.
  const ring = new Moment()
  ring.before = ring
  ring.after = ring
  let armedForMs = Infinity

  function add(entry: Entry, fromMs = clock.now()): void {
    const last = ring.before ?? ring
    entry.dueMs = fromMs + delayMs
    entry.before = last
    entry.after = ring
    last.after = entry
    ring.before = entry
    if (armedForMs === Infinity) arm(entry.dueMs)
  }

  function remove(entry: Moment): void {
    if (entry.before === undefined || entry.after === undefined) return
    entry.before.after = entry.after
    entry.after.before = entry.before
    entry.before = undefined
    entry.after = undefined
  }

  function arm(dueMs: number): void {
    armedForMs = dueMs
    clock.after(dueMs - clock.now(), tick, true)
  }

  function tick(): void {
    armedForMs = Infinity
    const nowMs = clock.now()
    for (let first = ring.after; first !== undefined && first !== ring && first.dueMs <= nowMs; first = ring.after) {
      remove(first)
      onDue(first as Entry)
    }
    const first = ring.after
    if (first !== undefined && first !== ring && armedForMs === Infinity) arm(first.dueMs)
  }

  return { add, remove }
}
