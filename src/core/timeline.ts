import type { Clock } from './clock.ts'
import { ChildSignal } from './signals.ts'

/** A place in a {@link Timeline}. Extend it with what `onDue` needs. */
export class Moment {
  dueMs = 0
  before: Moment | undefined
  after: Moment | undefined
}

/** A signal with a place in a {@link Timeline}, in one object: there is one for each claim and each attempt. */
export class TimedSignal extends ChildSignal implements Moment {
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
  // A ring with a sentinel, soonest first: one length for all keeps it nearly sorted without sorting.
  const ring = new Moment()
  ring.before = ring
  ring.after = ring
  let armedForMs = Infinity
  let disarm = (): void => {}

  function add(entry: Entry, fromMs = clock.now()): void {
    entry.dueMs = fromMs + delayMs
    let last = ring.before ?? ring
    // Only an entry that counts from an earlier time than now has to pass others.
    while (last !== ring && last.dueMs > entry.dueMs) last = last.before ?? ring
    const next = last.after ?? ring
    entry.before = last
    entry.after = next
    last.after = entry
    next.before = entry
    if (entry.dueMs < armedForMs) arm(entry.dueMs)
  }

  function remove(entry: Moment): void {
    if (entry.before === undefined || entry.after === undefined) return
    entry.before.after = entry.after
    entry.after.before = entry.before
    entry.before = undefined
    entry.after = undefined
  }

  function arm(dueMs: number): void {
    disarm()
    armedForMs = dueMs
    disarm = clock.after(dueMs - clock.now(), tick, true)
  }

  function tick(): void {
    armedForMs = Infinity
    const nowMs = clock.now()
    try {
      for (let first = ring.after; first !== undefined && first !== ring && first.dueMs <= nowMs; first = ring.after) {
        remove(first)
        onDue(first as Entry)
      }
    } finally {
      const first = ring.after
      if (first !== undefined && first !== ring && first.dueMs < armedForMs) arm(first.dueMs)
    }
  }

  return { add, remove }
}
