import type { Held, HeldClaim } from '../../../idempotency/store.ts'
import type { RunStatement } from '../queryable.ts'
import { heldBy } from '../rows.ts'
import type { IdempotencyStatements } from './statements.ts'

/** What becomes of a claim that is held. */
export interface Settlement {
  readonly held: HeldClaim
  readonly state: 'in-progress' | 'completed' | 'released' | 'failed'
  readonly forMs: number
  readonly attempts: number | null
  readonly failure: string | null
}

/** Settles many claims in one statement. */
export function settlementsBy(
  run: RunStatement,
  { settleSql }: IdempotencyStatements,
  lockTimeout: string,
): (settlements: readonly Settlement[]) => Promise<readonly Held[]> {
  return async function sendSettlements(settlements) {
    const rows = await run(settleSql, [
      settlements.map((_, at) => at),
      settlements.map(({ held }) => held.scope),
      settlements.map(({ held }) => held.key),
      settlements.map(({ held }) => String(held.token)),
      settlements.map(({ state }) => state),
      settlements.map(({ forMs }) => forMs),
      settlements.map(({ attempts }) => attempts),
      settlements.map(({ failure }) => failure),
      lockTimeout,
    ])
    return heldBy(rows, settlements)
  }
}
