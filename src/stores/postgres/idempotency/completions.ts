import type { StatementRunner } from '../../../core/delivery.ts'
import { HoldfastError } from '../../../core/errors.ts'
import type { Held, HeldClaim } from '../../../idempotency/store.ts'
import { heldBy } from '../rows.ts'
import { isOpenIn } from '../sessions.ts'
import { perTransaction } from './per-transaction.ts'
import { where } from './run.ts'
import type { IdempotencyStatements } from './statements.ts'

interface Completion {
  readonly held: HeldClaim
  readonly retainMs: number
  readonly parked: boolean
}

/** Completes claims in the handler's transaction, those of one transaction together. */
export function completionsBy({
  completeSql,
  completeParkedSql,
  completeAllSql,
}: IdempotencyStatements): (tx: StatementRunner, completion: Completion) => Promise<Held> {
  /** Completes what is held, in one statement. */
  async function completed(
    tx: StatementRunner,
    all: readonly Completion[],
    open: '' | 'open',
  ): Promise<readonly Held[]> {
    const [first] = all
    if (first !== undefined && all.length === 1) {
      const { scope, key, token } = first.held
      const text = first.parked ? completeParkedSql : completeSql
      const { rowCount } = await tx.query(text, [scope, key, String(token), first.retainMs, open])
      return [rowCount === 1 ? 'ok' : 'lost']
    }
    // Each with the row that it takes away: a batch of messages that a worker runs.
    if (all.some(({ parked }) => parked)) {
      const answers: Held[] = []
      for (const each of all) answers.push(...(await completed(tx, [each], open)))
      return answers
    }
    const asked = all.map(({ held: { scope, key, token }, retainMs }, n) => {
      return { n, scope, key, token: String(token), retain_ms: retainMs }
    })
    const { rows, rowCount } = await tx.query(completeAllSql, [JSON.stringify(asked), open])
    if (rowCount === all.length) return all.map(() => 'ok')
    // Drizzle's runner tells how many, not which: then none counts, and the transaction is not committed.
    return heldBy(rows, all)
  }

  async function sendCompletions(tx: StatementRunner, completions: readonly Completion[]): Promise<readonly Held[]> {
    const answers = await completed(tx, completions, '')
    if (answers.includes('ok')) return answers
    // Lost, or a transaction that has written nothing so far, or none at all.
    if (!(await isOpenIn(tx))) throw transactionOver(completions)
    return completed(tx, completions, 'open')
  }

  return perTransaction(sendCompletions, 'lost')
}

function transactionOver([first]: readonly Completion[]): HoldfastError {
  return new HoldfastError(
    'transaction-ended',
    `${where}: the transaction that completes '${first?.held.key ?? ''}' is over: the handler ran commit or rollback in it`,
  )
}
