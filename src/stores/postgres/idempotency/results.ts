import type { StatementRunner } from '../../../core/delivery.ts'
import type { ResultStore } from '../../../idempotency/remember/store.ts'
import type { Held, HeldClaim } from '../../../idempotency/store.ts'
import type { RunStatement } from '../queryable.ts'
import { field } from '../rows.ts'

type Results = Required<Pick<ResultStore, 'keepResult' | 'keepResultIn' | 'resultOf'>>

/** Keeps what handlers returned, in the row of the claim: both are written, remembered and cleaned up together. */
export function postgresResults(run: RunStatement, quoted: string): Results {
  // By the token, as every write of a claim. `returning`, since not every client tells how many rows it changed. Bytes travel
  // as text: drivers differ in what they make of a bytea.
  const keepSql = `
update ${quoted}.idempotency set result = decode($4::text, 'base64'), result_token = token
where scope = $1 and key = $2 and token = $3::bigint
  and (state = 'in-progress' or (state = 'completed' and retain_until > clock_timestamp()))
returning 1 as kept`
  const resultSql = `
select encode(result, 'base64') as result from ${quoted}.idempotency
where scope = $1 and key = $2 and state = 'completed' and retain_until > clock_timestamp() and result_token = token`

  const valuesOf = ({ scope, key, token }: HeldClaim, result: Uint8Array): unknown[] => [
    ...[scope, key, String(token)],
    Buffer.from(result.buffer, result.byteOffset, result.byteLength).toString('base64'),
  ]
  const heldBy = (rows: readonly unknown[]): Held => (rows.length === 1 ? 'ok' : 'lost')

  return {
    keepResult: async (held, result) => heldBy(await run(keepSql, valuesOf(held, result))),
    keepResultIn: async (tx: StatementRunner, held, result) =>
      heldBy((await tx.query(keepSql, valuesOf(held, result))).rows),
    async resultOf(scope, key) {
      const [row] = await run(resultSql, [scope, key])
      const result = field(row, 'result')
      return typeof result === 'string' ? Buffer.from(result, 'base64') : null
    },
  }
}
