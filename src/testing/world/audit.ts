import type { Invariant } from './invariants.ts'
import type { Noted, WritableLedger } from './ledger.ts'
import type { Simulation } from './task.ts'

/** Writes into the ledger and looks at the invariants. */
export interface Audit {
  readonly note: (entry: Noted) => void
  /** The run is over. */
  readonly conclude: () => void
}

export function audit(ledger: WritableLedger, invariants: readonly Invariant[], simulation: Simulation): Audit {
  return {
    note(noted) {
      const entry = ledger.note(noted)
      for (const { name, onEntry } of invariants) {
        const wrong = onEntry?.(entry, ledger)
        if (wrong !== undefined) simulation.violate(name, wrong)
      }
    },
    conclude() {
      for (const { name, atEnd } of invariants) {
        const wrong = simulation.violation === undefined ? atEnd?.(ledger) : undefined
        if (wrong !== undefined) simulation.violate(name, wrong)
      }
    },
  }
}
