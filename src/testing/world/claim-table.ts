import { claimName } from '../../core/stored-key.ts'
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

export type AskedKey = Pick<ClaimRequest, 'scope' | 'key' | 'fingerprint' | 'generation'>

export type SettledState = Exclude<ClaimRow['state'], 'in-progress'>

/** The rules of an idempotency store in their plainest form: each call is one step, and nothing is hidden. */
export interface ClaimTable {
  claim(request: ClaimRequest): ClaimResult
  /** What a claim would be told without claiming; `undefined` if the key is free. */
  known(request: AskedKey): ClaimResult | undefined
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

  function current(scope: string, key: string): ClaimRow | undefined {
    const name = claimName({ scope, key })
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

  /** A newer redrive of a failed key starts anew. */
  function asked({ scope, key, generation = 0 }: AskedKey): ClaimRow | undefined {
    const row = current(scope, key)
    return row?.state === 'failed' && generation > row.generation ? undefined : row
  }

  return {
    held,
    row: current,
    known(request) {
      const row = asked(request)
      return row === undefined ? undefined : (settled(row, request) ?? elsewhere(row, nowMs()))
    },
    byToken: (token) => [...rows.values()].find((row) => row.token === token),
    claim(request) {
      const { scope, key, owner, leaseMs, fingerprint, generation = 0 } = request
      const row = asked(request)
      const untilMs = nowMs() + leaseMs
      if (row !== undefined) {
        const answer = settled(row, request)
        if (answer !== undefined) return answer
        if (row.state === 'in-progress' && row.owner === owner) {
          row.untilMs = untilMs
          return { state: 'claimed', token: row.token, attempts: row.attempts }
        }
        const busy = elsewhere(row, nowMs())
        if (busy !== undefined) return busy
      }
      const attempts = (row?.attempts ?? 0) + 1
      const token = ++lastToken
      const kept = row?.fingerprint ?? fingerprint
      rows.set(claimName({ scope, key }), {
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

function settled({ fingerprint: kept, state, failure }: ClaimRow, { fingerprint }: AskedKey): ClaimResult | undefined {
  if (fingerprint !== null && kept !== null && kept !== fingerprint) return { state: 'conflict' }
  if (state === 'completed') return { state }
  return state === 'failed' && failure !== null ? { state, failure } : undefined
}

function elsewhere({ state, untilMs }: ClaimRow, nowMs: number): ClaimResult | undefined {
  return state === 'in-progress' && untilMs > nowMs ? { state, retryAfterMs: untilMs - nowMs } : undefined
}
