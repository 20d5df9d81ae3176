import type { StatementRunner } from '../../core/delivery.ts'
import { abortedBy } from '../../core/signals.ts'
import type {
  CallOptions,
  ClaimRequest,
  ClaimResult,
  Held,
  HeldClaim,
  TransactionalIdempotencyStore,
} from '../../idempotency/store.ts'
import type { BesideClaims, DatabaseCall } from './beside-claims.ts'
import { claimTable, releasedMs, type ClaimRow, type ClaimTable } from './claim-table.ts'
import type { Fault } from './faults.ts'
import type { SimulatedProcess } from './process.ts'
import { scopes } from './scope.ts'
import type { Simulation } from './task.ts'
import { callFaults, ConnectionLostError } from './task.ts'

/** A statement that changed something and was committed. */
export interface Committed {
  readonly by: SimulatedProcess
  readonly messageId: string
  readonly text: string
}

/** One database: claims and the users' own tables, which can commit together. */
export interface SimulatedDatabase {
  readonly claims: ClaimTable
  /** Until when it answers nobody. */
  downUntilMs: number
  storeFor(process: SimulatedProcess): TransactionalIdempotencyStore
  poolFor(process: SimulatedProcess): SimulatedPool
  /** Its connections break: what it had not committed is rolled back. */
  disconnect(process: SimulatedProcess): void
}

/** As much of a `pg.Pool` as a transaction needs. */
export interface SimulatedPool extends StatementRunner {
  connect(): Promise<SimulatedClient>
  connect(
    callback: (
      error: Error | undefined,
      client: SimulatedClient | undefined,
      done: (release?: Error | boolean) => void,
    ) => void,
  ): void
}

export interface SimulatedClient {
  query(text: string, values?: unknown[]): Promise<SimulatedAnswer>
  release(error?: Error | boolean): void
  on(event: 'error', listener: (error: Error) => void): unknown
  off(event: 'error', listener: (error: Error) => void): unknown
}

export interface SimulatedAnswer {
  readonly rows: readonly unknown[]
  readonly rowCount: number | null
  readonly command: string
}

export interface SimulatedDatabaseOptions {
  readonly simulation: Simulation
  readonly onCommit: (committed: readonly Committed[], messageIds: ReadonlySet<string>, by: SimulatedProcess) => void
  readonly checksToken?: boolean
  readonly beside?: (claims: ClaimTable) => BesideClaims
}

class Transaction {
  readonly process: SimulatedProcess
  state: 'open' | 'broken' | 'over' = 'open'
  readonly statements: Committed[] = []
  readonly completions: { readonly held: HeldClaim; readonly retainMs: number; readonly parked: boolean }[] = []
  readonly messageIds = new Set<string>()
  constructor(process: SimulatedProcess) {
    this.process = process
  }
}

const storeFaults: readonly Fault[] = [...callFaults, 'store-down']
// A claim does not wait longer than this for a row that somebody's transaction has locked.
const lockTimeoutMs = 100
// A server notices that a connection is gone a little later.
const noticesAfterMs = 100

export function simulatedDatabase({
  simulation,
  onCommit,
  checksToken = true,
  beside: makeBeside,
}: SimulatedDatabaseOptions): SimulatedDatabase {
  const claims = claimTable(() => simulation.nowMs, { checksToken })
  const beside = makeBeside?.(claims)
  const locks = new Map<ClaimRow, Transaction>()
  const open = new Set<Transaction>()
  let waiting: (() => void)[] = []

  const database: SimulatedDatabase = {
    claims,
    downUntilMs: 0,
    storeFor,
    poolFor,
    disconnect(process) {
      simulation.later(noticesAfterMs, `connections of ${process.name} end`, () => {
        for (const transaction of open) if (transaction.process === process) end(transaction)
      })
    },
  }

  const refuses = (): string | undefined =>
    simulation.nowMs < database.downUntilMs ? 'fails: the store is down' : undefined

  function call<T>(process: SimulatedProcess, name: string, apply: () => T | Promise<T>, quiet = false): Promise<T> {
    return simulation.op(process, name, apply, { faults: storeFaults, refuses, quiet })
  }

  function end(transaction: Transaction): void {
    transaction.state = 'over'
    open.delete(transaction)
    for (const [row, by] of locks) if (by === transaction) locks.delete(row)
    const released = waiting
    waiting = []
    for (const goOn of released) goOn()
  }

  /** A write waits while somebody's transaction holds the row. */
  async function unlocked(held: Pick<HeldClaim, 'scope' | 'key'>): Promise<void> {
    const scope = scopes.getStore()
    for (let row = lockedRow(held); row !== undefined; row = lockedRow(held)) {
      if (scope !== undefined) scope.pending++
      await new Promise<void>((resolve) => waiting.push(resolve))
      if (scope !== undefined) scope.pending--
    }
  }

  function lockedRow({ scope, key }: { readonly scope: string; readonly key: string }): ClaimRow | undefined {
    const row = claims.row(scope, key)
    return row !== undefined && locks.has(row) ? row : undefined
  }

  function write(process: SimulatedProcess, verb: string, held: HeldClaim, apply: () => Held): Promise<Held> {
    return call(process, `${verb} ${held.key}`, () => onceUnlocked([held], apply))
  }

  function onceUnlocked<T>(
    all: readonly Pick<HeldClaim, 'scope' | 'key'>[],
    apply: () => T | Promise<T>,
  ): T | Promise<T> {
    const held = all.find((each) => lockedRow(each) !== undefined)
    return held === undefined ? apply() : unlocked(held).then(() => onceUnlocked(all, apply))
  }

  /** The answer to a claim that has to wait behind what is parked: what is known already comes first. */
  function refusal(request: ClaimRequest): ClaimResult | undefined {
    if (request.lane === undefined || beside?.refuses(request.lane) !== true) return undefined
    const known = claims.known(request)
    return known === undefined || known.state === 'in-progress' ? { state: 'parked' } : known
  }

  function storeFor(process: SimulatedProcess): TransactionalIdempotencyStore {
    const store = claimsFor(process)
    const callOf: DatabaseCall = (name, apply, { writes, quiet } = {}) =>
      call(process, name, () => (writes === undefined ? apply() : onceUnlocked(writes, apply)), quiet)
    return beside?.storeFor(process, store, callOf) ?? store
  }

  function claimsFor(process: SimulatedProcess): TransactionalIdempotencyStore {
    return {
      name: 'simulated',
      async claim(request, options) {
        refuseAborted(options)
        let result: ClaimResult = { state: 'in-progress', retryAfterMs: lockTimeoutMs }
        await call(process, `claim ${request.key}`, () => {
          const refused = refusal(request)
          if (refused === undefined && lockedRow(request) !== undefined) return 'in-progress'
          result = refused ?? claims.claim(request)
          return result.state === 'claimed' ? `claimed, fence ${result.token}` : result.state
        })
        return result
      },
      async renew(held, leaseMs, options) {
        refuseAborted(options)
        return write(process, 'renew', held, () => claims.renew(held, leaseMs))
      },
      complete: (held, retainMs) =>
        write(process, 'complete', held, () => heldWhere(claims.settle(held, 'completed', retainMs))),
      release: (held, attempts) =>
        write(process, 'release', held, () => {
          const row = claims.settle(held, 'released', releasedMs)
          if (row !== undefined) row.attempts = attempts
          return heldWhere(row)
        }),
      fail: (held, failure, retainMs) =>
        write(process, 'fail', held, () => {
          const row = claims.settle(held, 'failed', retainMs)
          if (row !== undefined) Object.assign(row, { failure, attempts: failure.attempts })
          return heldWhere(row)
        }),
      completeIn(tx, held, retainMs, parkedRun) {
        const transaction = transactions.get(tx)
        if (transaction === undefined) throw new TypeError('this transaction is not one of the simulated database')
        return through(transaction, `complete ${held.key} in the transaction`, async () => {
          if (lockedRow(held) !== undefined) await unlocked(held)
          const row = claims.held(held)
          const parked = parkedRun !== undefined
          // Dropped by an operator: its effects go with it.
          if (row === undefined || (parked && beside?.has(held.scope, held.key) === false)) return 'lost' as const
          locks.set(row, transaction)
          transaction.completions.push({ held, retainMs, parked })
          return 'ok' as const
        })
      },
    }
  }

  const transactions = new WeakMap<object, Transaction>()

  /** A call over the connection of a transaction: when its answer does not come, the connection is gone. */
  async function through<T>(transaction: Transaction, name: string, apply: () => T | Promise<T>): Promise<T> {
    if (transaction.state === 'broken') throw new ConnectionLostError(`${name}: the connection is gone`)
    try {
      return await call(transaction.process, name, apply)
    } catch (error) {
      if (error instanceof ConnectionLostError) {
        transaction.state = 'broken'
        simulation.later(noticesAfterMs, `a connection of ${transaction.process.name} ends`, () => end(transaction))
      }
      throw error
    }
  }

  function commit(transaction: Transaction): string {
    if (!open.has(transaction)) return 'ROLLBACK'
    for (const { held, retainMs, parked } of transaction.completions) {
      claims.settle(held, 'completed', retainMs)
      if (parked) beside?.completed(held)
    }
    end(transaction)
    onCommit(transaction.statements, transaction.messageIds, transaction.process)
    return 'COMMIT'
  }

  function poolFor(process: SimulatedProcess): SimulatedPool {
    function client(): SimulatedClient {
      const transaction = new Transaction(process)
      const made: SimulatedClient = {
        async query(text) {
          const command = text.trim().split(/\s/, 1)[0]?.toUpperCase() ?? ''
          const messageId = scopes.getStore()?.messageId ?? ''
          transaction.messageIds.add(messageId)
          const done = await through(transaction, nameOfStatement(command, text, messageId), () => {
            if (command === 'COMMIT') return commit(transaction)
            if (command === 'BEGIN') {
              transaction.state = 'open'
              open.add(transaction)
            } else if (command === 'ROLLBACK') end(transaction)
            else if (changes.has(command)) transaction.statements.push({ by: process, messageId, text })
            return undefined
          })
          return { rows: [], rowCount: changes.has(command) ? 1 : 0, command: done ?? command }
        },
        release: () => undefined,
        on: () => undefined,
        off: () => undefined,
      }
      transactions.set(made, transaction)
      return made
    }

    function connect(): Promise<SimulatedClient>
    function connect(callback: Parameters<SimulatedPool['connect']>[0]): void
    function connect(callback?: Parameters<SimulatedPool['connect']>[0]): Promise<SimulatedClient> | undefined {
      const lent = client()
      if (callback === undefined) return Promise.resolve(lent)
      callback(undefined, lent, () => undefined)
      return undefined
    }

    return {
      connect,
      async query(text) {
        const messageId = scopes.getStore()?.messageId ?? ''
        const command = text.trim().split(/\s/, 1)[0]?.toUpperCase() ?? ''
        await call(process, nameOfStatement(command, text, messageId), () => {
          if (changes.has(command)) onCommit([{ by: process, messageId, text }], new Set(), process)
        })
        return { rows: [], rowCount: changes.has(command) ? 1 : 0 }
      },
    }
  }

  return database
}

const changes = new Set(['INSERT', 'UPDATE', 'DELETE', 'MERGE', 'CALL'])

function nameOfStatement(command: string, text: string, messageId: string): string {
  const about = messageId === '' ? '' : ` ${messageId}`
  return changes.has(command) ? `${text.trim().split(/\s+/).slice(0, 3).join(' ')}${about}` : `${command}${about}`
}

function heldWhere(row: ClaimRow | undefined): Held {
  return row === undefined ? 'lost' : 'ok'
}

/** What was not sent when its signal aborted is never sent. */
function refuseAborted({ signal }: CallOptions = {}): void {
  if (signal?.aborted === true) throw abortedBy(signal)
}
