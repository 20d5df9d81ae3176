import type { Failure } from '../../core/errors.ts'
import type { ClaimRequest, ClaimResult, Held, HeldClaim } from '../../idempotency/store.ts'

/** The record of one key. */
export interface ClaimRow {
  state: 'in-progress' | 'completed' | 'failed' | 'released'
  token: bigint
  owner: string
  /** In progress: the end of the lease. Settled: how long it is remembered. */
  untilMs: number
  attempts: number
  generation: number
  fingerprint: string | null
  failure: Failure | null
}

export type SettledState = Exclude<ClaimRow['state'], 'in-progress'>

/** The rules of an idempotency store in their plainest form: each call is one step, and nothing is hidden. */
export interface ClaimTable {
  claim(request: ClaimRequest): ClaimResult
  renew(held: HeldClaim, leaseMs: number): Held
  settle(held: HeldClaim, state: SettledState, forMs: number): ClaimRow | undefined
  /** The record that this claim may still write to. */
  held(held: HeldClaim, orState?: SettledState): ClaimRow | undefined
  row(scope: string, key: string): ClaimRow | undefined
  /** The record that was last claimed with this token. */
  byToken(token: bigint): ClaimRow | undefined
}

export const releasedMs: number = 7 * 86_400_000

/** `checksToken: false` is a planted bug: every claim may write to every record. */
export function claimTable(
  nowMs: () => number,
  { checksToken = true }: { readonly checksToken?: boolean } = {},
): ClaimTable {
  const rows = new Map<string, ClaimRow>()
  let lastToken = 0n
  const nameOf = (scope: string, key: string): string => `${scope.length}:${scope}${key}`

  function current(scope: string, key: string): ClaimRow | undefined {
    const name = nameOf(scope, key)
    const row = rows.get(name)
    if (row === undefined || row.state === 'in-progress' || row.untilMs > nowMs()) return row
    rows.delete(name)
    return undefined
  }

  function held({ scope, key, token }: HeldClaim, orState?: SettledState): ClaimRow | undefined {
    const row = current(scope, key)
    if (row === undefined || (checksToken && row.token !== token)) return undefined
    return !checksToken || row.state === 'in-progress' || row.state === orState ? row : undefined
  }

  return {
    held,
    row: current,
    byToken: (token) => [...rows.values()].find((row) => row.token === token),
    claim({ scope, key, owner, leaseMs, fingerprint, generation = 0 }) {
      const known = current(scope, key)
      // A newer redrive of a failed key starts anew.
      const row = known?.state === 'failed' && generation > known.generation ? undefined : known
      const untilMs = nowMs() + leaseMs
      if (row !== undefined) {
        if (fingerprint !== null && row.fingerprint !== null && row.fingerprint !== fingerprint)
          return { state: 'conflict' }
        if (row.state === 'completed') return { state: 'completed' }
        if (row.state === 'failed' && row.failure !== null) return { state: 'failed', failure: row.failure }
        if (row.state === 'in-progress' && row.owner === owner) {
          row.untilMs = untilMs
          return { state: 'claimed', token: row.token, attempts: row.attempts }
        }
        if (row.state === 'in-progress' && row.untilMs > nowMs())
          return { state: 'in-progress', retryAfterMs: row.untilMs - nowMs() }
      }
      const attempts = (row?.attempts ?? 0) + 1
      const token = ++lastToken
      const kept = row?.fingerprint ?? fingerprint
      rows.set(nameOf(scope, key), {
        state: 'in-progress',
        token,
        owner,
        untilMs,
        attempts,
        generation,
        fingerprint: kept,
        failure: null,
      })
      return { state: 'claimed', token, attempts }
    },
    renew(claim, leaseMs) {
      const row = held(claim)
      if (row === undefined) return 'lost'
      row.untilMs = nowMs() + leaseMs
      return 'ok'
    },
    settle(claim, state, forMs) {
      const row = held(claim, state)
      if (row === undefined) return undefined
      row.state = state
      row.untilMs = nowMs() + forMs
      return row
    },
  }
}
