import type { StatementRunner } from '../../../core/delivery.ts'
import { claimName } from '../../../core/stored-key.ts'
import type { InsideRequest } from '../../../idempotency/store.ts'
import { explained, isContention } from '../failures.ts'
import { numberField, textField } from '../rows.ts'
import { perTransaction } from './per-transaction.ts'
import { where } from './run.ts'
import type { IdempotencyStatements } from './statements.ts'

/** The token of the claim. */
type InsideAnswer = bigint | 'known'

// Each takes one lock of the server's shared table.
const mostInside = 1000

/** Claims keys inside the handler's transaction, those of one transaction together. */
export function insideClaimsBy(
  { claimInSql, claimAllInSql, claimInLanedSql, claimAllInLanedSql }: IdempotencyStatements,
  schema: string,
): (tx: StatementRunner, request: InsideRequest) => Promise<InsideAnswer> {
  /** The same key twice in one batch: the second finds it known. So does what would need too many locks. */
  async function sendInside(tx: StatementRunner, all: readonly InsideRequest[]): Promise<readonly InsideAnswer[]> {
    const firsts = new Map<string, InsideRequest>()
    for (const request of all)
      if (firsts.size < mostInside && !firsts.has(claimName(request))) firsts.set(claimName(request), request)
    const requests = [...firsts.values()]
    const answers = await claimedInside(tx, requests)
    return all.map((request) => answers[requests.indexOf(request)] ?? 'known')
  }

  async function claimedInside(tx: StatementRunner, requests: readonly InsideRequest[]): Promise<InsideAnswer[]> {
    const [first] = requests
    if (first === undefined) return []
    const idle = `${Math.ceil(first.leaseMs)}ms`
    const laned = requests.some(({ lane }) => lane !== undefined)
    try {
      const { rows } =
        requests.length === 1
          ? await tx.query(laned ? claimInLanedSql : claimInSql, [
              ...[first.scope, first.key, first.retainMs, first.fingerprint, idle],
              ...(laned ? [first.lane?.pipeline, first.lane?.name] : []),
            ])
          : await tx.query(laned ? claimAllInLanedSql : claimAllInSql, [
              JSON.stringify(
                requests.map(({ scope, key, fingerprint, retainMs, lane }, n) => {
                  return { n, scope, key, fingerprint, retain_ms: retainMs, pipeline: lane?.pipeline, lane: lane?.name }
                }),
              ),
              idle,
            ])
      const tokens = new Map(rows.map((row) => [numberField(row, 'n'), BigInt(textField(row, 'token') ?? 0)]))
      return requests.map((_, n) => tokens.get(n) ?? 'known')
    } catch (error) {
      // Above read committed the snapshot may be older than the record.
      if (isContention(error)) return requests.map(() => 'known')
      throw explained(where, schema, error)
    }
  }

  return perTransaction(sendInside, 'known')
}
