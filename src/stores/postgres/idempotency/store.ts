import { claimName } from '../../../core/stored-key.ts'
import { setTimeout as wait } from 'node:timers/promises'
import type { StatementRunner } from '../../../core/delivery.ts'
import { HoldfastError, PermanentError } from '../../../core/errors.ts'
import type {
  ClaimRequest,
  ClaimResult,
  Held,
  HeldClaim,
  InsideRequest,
  TransactionalIdempotencyStore,
} from '../../../idempotency/store.ts'
import type { ResultStore } from '../../../idempotency/remember/store.ts'
import type { ParkingStore } from '../../../ordering/parking/store.ts'
import { anything, checkOptions, count, flag, ms } from '../../../core/options.ts'
import { apart, batcher, onceEach } from '../../batcher.ts'
import { failureFromJson, failureToJson } from '../../failure-json.ts'
import { explained, isContention, isLockTimeout, mayBeOneRow, sqlFault } from '../failures.ts'
import { perTransaction } from './per-transaction.ts'
import { idempotencyStatements } from './statements.ts'
import { postgresResults } from './results.ts'
import { quotedSchema } from '../identifiers.ts'
import { postgresParking } from '../parking/store.ts'
import { checkPool, type Queryable } from '../queryable.ts'
import { isOpenIn } from '../sessions.ts'
import { numberField, textField } from '../rows.ts'

export interface PostgresIdempotencyStoreOptions {
  /** The schema in which `migrate()` made the tables. @defaultValue `'holdfast'` */
  readonly schema?: string
  /** Most claims in one statement. @defaultValue 200 */
  readonly maxBatch?: number
  /** Most concurrent statements of one kind. @defaultValue 2 */
  readonly maxInFlight?: number
  /** Longest wait in ms for a row that another transaction has locked. @defaultValue 500 */
  readonly lockTimeoutMs?: number
  /** Set it to true if any process uses `idempotency({ claim: 'inside' })` on this table. @defaultValue `false` */
  readonly inside?: boolean
}

const where = 'postgresIdempotencyStore'

/**
 * Keeps claims in PostgreSQL, and completes them in the handler's transaction: effects in that transaction happen once per
 * key. Give it a small pool of its own. Renewals then never wait for connections that handlers use. The same object keeps
 * the messages that `parking()` parks, and what `remember()` remembers.
 */
export function postgresIdempotencyStore(
  pool: Queryable,
  options: PostgresIdempotencyStoreOptions = {},
): TransactionalIdempotencyStore & ParkingStore & ResultStore {
  const {
    schema = 'holdfast',
    maxBatch = 200,
    maxInFlight = 2,
    lockTimeoutMs = 500,
    inside = false,
  } = checkOptions(where, options, {
    schema: anything,
    maxBatch: count(),
    maxInFlight: count(),
    lockTimeoutMs: ms(),
    inside: flag,
  })
  checkPool(where, pool)
  const quoted = quotedSchema(where, schema)
  const {
    claimSql,
    claimLanedSql,
    settleSql,
    completeSql,
    completeParkedSql,
    completeAllSql,
    claimInSql,
    claimAllInSql,
    claimInLanedSql,
    claimAllInLanedSql,
  } = idempotencyStatements(quoted, { inside })
  const lockTimeout = `${Math.ceil(lockTimeoutMs)}ms`

  /** One statement, sent again while all that stands in its way is another transaction. */
  async function run(text: string, values: unknown[]): Promise<readonly unknown[]> {
    for (let attempt = 1; ; attempt++) {
      try {
        return (await pool.query(text, values)).rows
      } catch (error) {
        if (attempt >= mostAttempts || !isContention(error)) throw explained(where, schema, error)
        await wait(attempt * attempt)
      }
    }
  }

  async function sendClaims(requests: readonly ClaimRequest[]): Promise<readonly (ClaimResult | undefined)[]> {
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

  async function sendSettlements(settlements: readonly Settlement[]): Promise<readonly Held[]> {
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
    const changed = new Set(rows.map((row) => numberField(row, 'n')))
    return settlements.map((_, at) => (changed.has(at) ? 'ok' : 'lost'))
  }

  const claim = batcher<ClaimRequest, ClaimResult>({
    send: onceEach(
      apart(sendClaims, mayBeOneRow, (error) => (isLockTimeout(error) ? busy : undefined)),
      claimName,
      followClaim,
    ),
    maxBatch,
    maxInFlight,
  })
  const settle = batcher<Settlement, Held>({
    send: onceEach(
      apart(sendSettlements, mayBeOneRow),
      ({ held }) => claimName(held),
      // The first may have changed what the second finds.
      () => undefined,
    ),
    maxBatch,
    maxInFlight,
  })

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
    const changed = new Set(rows.map((row) => numberField(row, 'n')))
    return all.map((_, n) => (changed.has(n) ? 'ok' : 'lost'))
  }

  async function sendCompletions(tx: StatementRunner, completions: readonly Completion[]): Promise<readonly Held[]> {
    const answers = await completed(tx, completions, '')
    if (answers.includes('ok')) return answers
    // Lost, or a transaction that has written nothing so far, or none at all.
    if (!(await isOpenIn(tx))) throw transactionOver(completions)
    return completed(tx, completions, 'open')
  }
  const together = perTransaction(sendCompletions, 'lost')

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
  const insideTogether = perTransaction(sendInside, 'known')

  return {
    async claim(request, { signal } = {}) {
      requireStorable('scope', request.scope)
      requireStorable('key', request.key)
      return claim(request, signal).catch(refusedKey)
    },
    renew: (held, leaseMs, { signal } = {}) =>
      settle({ held, state: 'in-progress', forMs: leaseMs, attempts: null, failure: null }, signal),
    complete: (held, retainMs) => settle({ held, state: 'completed', forMs: retainMs, attempts: null, failure: null }),
    release: (held, attempts) => settle({ held, state: 'released', forMs: 0, attempts, failure: null }),
    fail: (held, failure, retainMs) =>
      settle({ held, state: 'failed', forMs: retainMs, attempts: failure.attempts, failure: failureToJson(failure) }),
    completeIn: (tx, held, retainMs, parked) => together(tx, { held, retainMs, parked: parked !== undefined }),
    ...postgresResults(run, quoted),
    ...postgresParking({ run, quoted, lockTimeout, maxBatch, maxInFlight }),
    ...(inside && {
      async claimIn(tx: StatementRunner, request: InsideRequest) {
        requireStorable('scope', request.scope)
        requireStorable('key', request.key)
        return insideTogether(tx, request).catch(refusedKey)
      },
    }),
  }
}

interface Completion {
  readonly held: HeldClaim
  readonly retainMs: number
  readonly parked: boolean
}

function lanesOf(asked: readonly (ClaimRequest | undefined)[]): unknown[] {
  const lanes = asked.map((request) => request?.lane)
  return [
    lanes.map((lane) => lane?.pipeline),
    lanes.map((lane) => lane?.name),
    lanes.map((lane) => lane?.token?.toString()),
  ]
}

function transactionOver([first]: readonly Completion[]): HoldfastError {
  return new HoldfastError(
    'transaction-ended',
    `${where}: the transaction that completes '${first?.held.key ?? ''}' is over: the handler ran commit or rollback in it`,
  )
}

type InsideAnswer = bigint | 'known'

// Each takes one lock of the server's shared table.
const mostInside = 1000

interface Settlement {
  readonly held: HeldClaim
  readonly state: 'in-progress' | 'completed' | 'released' | 'failed'
  readonly forMs: number
  readonly attempts: number | null
  readonly failure: string | null
}

// Contention ends by itself; more rounds than this mean that something else is wrong.
const mostAttempts = 12

/** Another transaction has the row: its outcome is a moment away. */
const busy: ClaimResult = { state: 'in-progress', retryAfterMs: 50 }

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
function followClaim(request: ClaimRequest, first: ClaimRequest, answer: ClaimResult): ClaimResult | undefined {
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

// An index row takes 2,704 bytes, scope and key together.
const longestBytes = 1300

/** That one key cannot be kept is that message's own fault: the others go on. */
function requireStorable(name: string, text: string): void {
  const storable = !text.includes('\0') && text.isWellFormed() && Buffer.byteLength(text) <= longestBytes
  if (!storable)
    throw new PermanentError(
      `${where}: a ${name} must be well-formed text without NUL, at most ${longestBytes} bytes long, got '${text.slice(0, 80)}'`,
    )
}

function refusedKey(error: unknown): never {
  if (sqlFault(error) !== 'refused') throw error
  throw new PermanentError(`${where}: the database cannot keep this key`, { cause: error })
}
