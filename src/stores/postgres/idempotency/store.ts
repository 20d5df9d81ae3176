import type { StatementRunner } from '../../../core/delivery.ts'
import { anything, checkOptions, count, flag, ms } from '../../../core/options.ts'
import { claimName } from '../../../core/stored-key.ts'
import type { ResultStore } from '../../../idempotency/remember/store.ts'
import type {
  ClaimRequest,
  ClaimResult,
  Held,
  InsideRequest,
  TransactionalIdempotencyStore,
} from '../../../idempotency/store.ts'
import type { ParkingStore } from '../../../ordering/parking/store.ts'
import { apart, batcher, onceEach } from '../../batcher.ts'
import { failureToJson } from '../../failure-json.ts'
import { isLockTimeout, mayBeOneRow } from '../failures.ts'
import { quotedSchema } from '../identifiers.ts'
import { postgresParking } from '../parking/store.ts'
import { checkPool, type Queryable } from '../queryable.ts'
import { busy, claimsBy, followClaim } from './claims.ts'
import { completionsBy } from './completions.ts'
import { insideClaimsBy } from './inside.ts'
import { postgresResults } from './results.ts'
import { runOn, where } from './run.ts'
import { settlementsBy, type Settlement } from './settlements.ts'
import { idempotencyStatements } from './statements.ts'
import { refusedKey, requireStorable } from './storable.ts'

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
  const statements = idempotencyStatements(quoted, { inside })
  const lockTimeout = `${Math.ceil(lockTimeoutMs)}ms`
  const run = runOn(pool, schema)
  const claim = batcher<ClaimRequest, ClaimResult>({
    send: onceEach(
      apart(claimsBy(run, statements, lockTimeout), mayBeOneRow, (error) => (isLockTimeout(error) ? busy : undefined)),
      claimName,
      followClaim,
    ),
    maxBatch,
    maxInFlight,
  })
  const settle = batcher<Settlement, Held>({
    send: onceEach(
      apart(settlementsBy(run, statements, lockTimeout), mayBeOneRow),
      ({ held }) => claimName(held),
      // The first may have changed what the second finds.
      () => undefined,
    ),
    maxBatch,
    maxInFlight,
  })
  const complete = completionsBy(statements)
  const claimInside = insideClaimsBy(statements, schema)
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
    completeIn: (tx, held, retainMs, parked) => complete(tx, { held, retainMs, parked: parked !== undefined }),
    ...postgresResults(run, quoted),
    ...postgresParking({ run, quoted, lockTimeout, maxBatch, maxInFlight }),
    ...(inside && {
      async claimIn(tx: StatementRunner, request: InsideRequest) {
        requireStorable('scope', request.scope)
        requireStorable('key', request.key)
        return claimInside(tx, request).catch(refusedKey)
      },
    }),
  }
}
