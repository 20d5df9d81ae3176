import type { ClaimRequest, ClaimResult } from '../../../idempotency/store.ts'
import { failureFromJson } from '../../failure-json.ts'
import type { RunStatement } from '../queryable.ts'
import { numberField, textField } from '../rows.ts'
import type { IdempotencyStatements } from './statements.ts'

/** Another transaction has the row: its outcome is a moment away. */
export const busy: ClaimResult = { state: 'in-progress', retryAfterMs: 50 }

type Answers = (requests: readonly ClaimRequest[]) => Promise<readonly (ClaimResult | undefined)[]>

/** Claims many keys in one statement. */
export function claimsBy(
  run: RunStatement,
  { claimSql, claimLanedSql }: IdempotencyStatements,
  lockTimeout: string,
): Answers {
  return async function sendClaims(requests) {
    const answers: (ClaimResult | undefined)[] = requests.map(() => undefined)
    let open = requests.map((_, at) => at)
    // A row may answer nothing: it changed between the statement's snapshot and its write. The next snapshot shows it.
    for (let round = 0; round < 3 && open.length > 0; round++) {
      const asked = open.map((at) => requests[at])
      // A service that parks nothing sends the statement that knows no lanes.
      const laned = asked.some((request) => request?.lane !== undefined)
      const redriven = asked.some((request) => (request?.generation ?? 0) > 0)
      const rows = await run((laned ? claimLanedSql : claimSql)[redriven ? 'redriven' : 'plain'], [
        open,
        asked.map((request) => request?.scope),
        asked.map((request) => request?.key),
        asked.map((request) => request?.owner),
        asked.map((request) => request?.leaseMs),
        asked.map((request) => request?.fingerprint),
        lockTimeout,
        ...(laned ? lanesOf(asked) : []),
        ...(redriven ? [asked.map((request) => request?.generation ?? 0)] : []),
      ])
      for (const row of rows) answers[numberField(row, 'n')] = claimResult(row)
      open = open.filter((at) => answers[at] === undefined)
    }
    return answers.map((answer) => answer ?? busy)
  }
}

function lanesOf(asked: readonly (ClaimRequest | undefined)[]): unknown[] {
  const lanes = asked.map((request) => request?.lane)
  return [
    lanes.map((lane) => lane?.pipeline),
    lanes.map((lane) => lane?.name),
    lanes.map((lane) => lane?.token?.toString()),
  ]
}

function claimResult(row: unknown): ClaimResult | undefined {
  const state = textField(row, 'state') ?? ''
  switch (state) {
    case 'claimed':
      return { state, token: BigInt(textField(row, 'token') ?? 0), attempts: numberField(row, 'attempts') }
    case 'in-progress':
      return { state, retryAfterMs: Math.max(1, numberField(row, 'wait_ms')) }
    case 'completed':
    case 'conflict':
    case 'parked':
      return { state }
    case 'failed':
      return { state, failure: failureFromJson(textField(row, 'failure')) }
    default:
      return undefined
  }
}

/** Two claims of one key in one batch: the second is told what the first one's answer means for it. */
export function followClaim(request: ClaimRequest, first: ClaimRequest, answer: ClaimResult): ClaimResult | undefined {
  // A newer redrive may run where the first was told `failed`: only the store can tell.
  if ((request.generation ?? 0) > (first.generation ?? 0)) return undefined
  // The worker of a parked lane may run what another was told to wait with.
  if (answer.state === 'parked') return undefined
  if (request.fingerprint === first.fingerprint || answer.state === 'claimed') {
    if (answer.state !== 'claimed' || request.owner === first.owner) return answer
    if (request.fingerprint !== null && first.fingerprint !== null && request.fingerprint !== first.fingerprint)
      return undefined
    return { state: 'in-progress', retryAfterMs: first.leaseMs }
  }
  return undefined
}
