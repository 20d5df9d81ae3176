import { systemClock, type Clock } from '../core/clock.ts'
import type { Failure } from '../core/errors.ts'
import { checkOptions, clockKind, count } from '../core/options.ts'
import { warnInProduction } from '../core/production.ts'
import { abortedBy } from '../core/signals.ts'
import type { ResultStore } from './remember/store.ts'
import type { CallOptions, ClaimRequest, ClaimResult, Held, HeldClaim } from './store.ts'

export interface MemoryIdempotencyStoreOptions {
  readonly clock?: Clock
  /** Most settled keys to keep. Above that the store forgets the key settled longest ago. @defaultValue 1_000_000 */
  readonly maxKeys?: number
}

/** The claims of one process, and what a store beside them may ask. */
export interface MemoryClaims extends ResultStore {
  /** What a claim would be told without claiming; `undefined` if the key is free. */
  known(request: Pick<ClaimRequest, 'scope' | 'key' | 'fingerprint' | 'generation'>): ClaimResult | undefined
  /** Whether that claim is in progress and nobody took over. */
  holds(held: HeldClaim): boolean
  /** Ends a claim whose lease has lapsed, so that it completes nothing any more. */
  fenceOut(scope: string, key: string): void
}

/** Keeps claims in this process. For tests, demos and single processes that may lose all keys on restart. */
export function memoryIdempotencyStore(options: MemoryIdempotencyStoreOptions = {}): MemoryClaims {
  const { clock = systemClock, maxKeys = 1_000_000 } = checkOptions('memoryIdempotencyStore', options, {
    clock: clockKind,
    maxKeys: count(),
  })
  warnInProduction('memoryIdempotencyStore')
  const scopes = new Map<string, Scope>()
  // A ring of the settled entries, the one settled longest ago first.
  const settled = new Entry(new Scope(''), '', '', null)
  let settledCount = 0
  let lastToken = 0n

  function claim(
    { scope, key, owner, leaseMs, fingerprint, generation = 0 }: ClaimRequest,
    { signal }: CallOptions = {},
  ): Promise<ClaimResult> {
    if (signal?.aborted === true) return Promise.reject(abortedBy(signal))
    const nowMs = clock.now()
    forgetOver(nowMs)
    let keys = scopes.get(scope)
    if (keys === undefined) scopes.set(scope, (keys = new Scope(scope)))
    let entry = keys.get(key)
    if (entry !== undefined && entry.state !== 'in-progress' && entry.untilMs <= nowMs) {
      forget(entry)
      scopes.set(scope, keys)
      entry = undefined
    }
    if (entry?.state === 'failed' && generation > entry.generation) {
      forget(entry)
      scopes.set(scope, keys)
      entry = undefined
    }
    if (entry === undefined) keys.set(key, (entry = new Entry(keys, key, owner, fingerprint)))
    else {
      if (fingerprint !== null && entry.fingerprint !== null && fingerprint !== entry.fingerprint) return conflict
      if (entry.state === 'completed') return completed
      if (entry.state === 'failed' && entry.failure !== null)
        return Promise.resolve({ state: 'failed', failure: entry.failure })
      if (entry.state === 'in-progress') {
        if (entry.owner === owner) return claimed(entry, nowMs + leaseMs)
        if (entry.untilMs > nowMs) return Promise.resolve({ state: 'in-progress', retryAfterMs: entry.untilMs - nowMs })
      } else unlink(entry)
      entry.owner = owner
      entry.fingerprint ??= fingerprint
    }
    entry.state = 'in-progress'
    entry.token = ++lastToken
    entry.attempts++
    entry.generation = generation
    return claimed(entry, nowMs + leaseMs)
  }

  function claimed(entry: Entry, untilMs: number): Promise<ClaimResult> {
    entry.untilMs = untilMs
    return Promise.resolve({ state: 'claimed', token: entry.token, attempts: entry.attempts })
  }

  function known({ scope, key, fingerprint, generation = 0 }: Parameters<MemoryClaims['known']>[0]) {
    const nowMs = clock.now()
    const entry = scopes.get(scope)?.get(key)
    if (entry === undefined || (entry.state !== 'in-progress' && entry.untilMs <= nowMs)) return undefined
    if (entry.state === 'failed' && generation > entry.generation) return undefined
    if (fingerprint !== null && entry.fingerprint !== null && fingerprint !== entry.fingerprint)
      return { state: 'conflict' } as const
    if (entry.state === 'completed') return { state: 'completed' } as const
    if (entry.state === 'failed' && entry.failure !== null) return { state: 'failed', failure: entry.failure } as const
    if (entry.state === 'in-progress' && entry.untilMs > nowMs)
      return { state: 'in-progress', retryAfterMs: entry.untilMs - nowMs } as const
    return undefined
  }

  function fenceOut(scope: string, key: string): void {
    const entry = scopes.get(scope)?.get(key)
    if (entry?.state === 'in-progress') settle({ scope, key, token: entry.token }, 'released', releasedMs)
  }

  /** The entry, where the claim still holds it or has put it into that state before: a call that is sent again. */
  function find({ scope, key, token }: HeldClaim, state: Entry['state']): Entry | undefined {
    const entry = scopes.get(scope)?.get(key)
    if (entry?.token !== token) return undefined
    if (entry.state === 'in-progress') return entry
    return entry.state === state && entry.untilMs > clock.now() ? entry : undefined
  }

  function settle(held: HeldClaim, state: Entry['state'], forMs: number): Entry | undefined {
    const entry = find(held, state)
    if (entry === undefined) return undefined
    if (entry.state !== 'in-progress') unlink(entry)
    entry.state = state
    entry.owner = nobody
    entry.untilMs = clock.now() + forMs
    entry.older = settled.older
    entry.newer = settled
    settled.older.newer = entry
    settled.older = entry
    if (++settledCount > maxKeys) forget(settled.newer)
    return entry
  }

  function unlink(entry: Entry): void {
    entry.older.newer = entry.newer
    entry.newer.older = entry.older
    // A forgotten entry that the collector has not seen yet would keep all newer ones alive until it has.
    entry.older = entry
    entry.newer = entry
    settledCount--
  }

  function forget(entry: Entry): void {
    unlink(entry)
    const { keys } = entry
    keys.delete(entry.key)
    // Scopes may be tenants: one without a key is forgotten too.
    if (keys.size === 0) scopes.delete(keys.scope)
  }

  function forgetOver(nowMs: number): void {
    while (settled.newer !== settled && settled.newer.untilMs <= nowMs) forget(settled.newer)
  }

  return {
    name: 'memory',
    claim,
    known,
    fenceOut,
    holds: (held) => find(held, 'in-progress') !== undefined,
    renew(held, leaseMs, { signal } = {}) {
      if (signal?.aborted === true) return Promise.reject(abortedBy(signal))
      const entry = find(held, 'in-progress')
      if (entry !== undefined) entry.untilMs = clock.now() + leaseMs
      return answer(entry)
    },
    complete: (held, retainMs) => answer(settle(held, 'completed', retainMs)),
    release(held, attempts) {
      const entry = settle(held, 'released', releasedMs)
      if (entry !== undefined) entry.attempts = attempts
      return answer(entry)
    },
    fail(held, failure, retainMs) {
      const entry = settle(held, 'failed', retainMs)
      if (entry !== undefined) {
        entry.failure = failure
        entry.attempts = failure.attempts
      }
      return answer(entry)
    },
    keepResult(held, bytes) {
      const entry = find(held, 'completed')
      if (entry !== undefined) entry.result = { token: held.token, bytes }
      return answer(entry)
    },
    resultOf(scope, key) {
      const entry = scopes.get(scope)?.get(key)
      const isKnown = entry?.state === 'completed' && entry.untilMs > clock.now()
      return Promise.resolve(isKnown && entry.result?.token === entry.token ? entry.result.bytes : null)
    },
  }
}

class Scope extends Map<string, Entry> {
  readonly scope: string
  constructor(scope: string) {
    super()
    this.scope = scope
  }
}

class Entry {
  readonly keys: Scope
  readonly key: string
  state: 'in-progress' | 'completed' | 'failed' | 'released' = 'in-progress'
  token = 0n
  attempts = 0
  generation = 0
  owner: string
  /** In progress: the end of the lease. Settled: how long it is remembered. */
  untilMs = 0
  fingerprint: string | null
  failure: Failure | null = null
  /** What the handler of one claim returned; of an earlier claim it counts no more. */
  result: { readonly token: bigint; readonly bytes: Uint8Array } | null = null
  older: Entry
  newer: Entry

  constructor(keys: Scope, key: string, owner: string, fingerprint: string | null) {
    this.keys = keys
    this.key = key
    this.owner = owner
    this.fingerprint = fingerprint
    this.older = this
    this.newer = this
  }
}

// A settled entry has no owner, and need not keep the text.
const nobody = ''

// How long the count of attempts of a released key is remembered where nobody claims it again.
const releasedMs = 7 * 86_400_000

// Made once: a promise that is settled can be handed out again and again.
const ok = Promise.resolve<Held>('ok')
const lost = Promise.resolve<Held>('lost')
const completed = Promise.resolve<ClaimResult>({ state: 'completed' })
const conflict = Promise.resolve<ClaimResult>({ state: 'conflict' })

function answer(entry: Entry | undefined): Promise<Held> {
  return entry === undefined ? lost : ok
}
