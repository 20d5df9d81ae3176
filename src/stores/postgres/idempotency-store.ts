import { setTimeout as wait } from 'node:timers/promises'
import type {
  ClaimRequest,
  ClaimResult,
  Held,
  HeldClaim,
  TransactionalIdempotencyStore,
} from '../../idempotency/store.ts'
import { badOption, requireCount, requireMethods, requireMs } from '../../options.ts'
import { apart, batcher, onceEach } from '../batcher.ts'
import { failureFromJson, failureToJson } from '../failure-json.ts'
import { explained, isContention, isLockTimeout, mayBeOneRow } from './failures.ts'
import { quotedSchema } from './identifiers.ts'
import type { Queryable } from './queryable.ts'
import { numberField, textField } from './rows.ts'

export interface PostgresIdempotencyStoreOptions {
  /** Where `migrate()` made the tables. @defaultValue `'holdfast'` */
  readonly schema?: string
  /** How many claims travel in one statement at most. @defaultValue 200 */
  readonly maxBatch?: number
  /** How many statements of one kind travel at once. @defaultValue 2 */
  readonly maxInFlight?: number
  /** How long a statement waits for a row that another transaction has locked. @defaultValue 500 */
  readonly lockTimeoutMs?: number
}

const where = 'postgresIdempotencyStore'

/**
 * Keeps the claims in PostgreSQL, and completes them inside the handler's transaction: effects in that transaction
 * happen once per key. Give it a small pool of its own, so that renewals never queue behind handlers.
 */
export function postgresIdempotencyStore(
  pool: Queryable,
  { schema = 'holdfast', maxBatch = 200, maxInFlight = 2, lockTimeoutMs = 500 }: PostgresIdempotencyStoreOptions = {},
): TransactionalIdempotencyStore {
  requireMethods(where, 'pool', pool, ['query'])
  requireCount(where, { maxBatch, maxInFlight })
  requireMs(where, { lockTimeoutMs })
  const { claimSql, settleSql, completeSql } = statementsIn(quotedSchema(where, schema))
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
      const rows = await run(claimSql, [
        open,
        asked.map((request) => request?.scope),
        asked.map((request) => request?.key),
        asked.map((request) => request?.owner),
        asked.map((request) => request?.leaseMs),
        asked.map((request) => request?.fingerprint),
        lockTimeout,
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
      sameKey,
      followClaim,
    ),
    maxBatch,
    maxInFlight,
  })
  const settle = batcher<Settlement, Held>({
    send: onceEach(
      apart(sendSettlements, mayBeOneRow),
      ({ held }) => sameKey(held),
      // Whatever comes second, the first may have changed what it finds.
      () => undefined,
    ),
    maxBatch,
    maxInFlight,
  })

  return {
    name: 'postgresql',
    async claim(request) {
      requireStorable('scope', request.scope)
      requireStorable('key', request.key)
      return claim(request)
    },
    renew: (held, leaseMs) => settle({ held, state: 'in-progress', forMs: leaseMs, attempts: null, failure: null }),
    complete: (held, retainMs) => settle({ held, state: 'completed', forMs: retainMs, attempts: null, failure: null }),
    release: (held, attempts) => settle({ held, state: 'released', forMs: 0, attempts, failure: null }),
    fail: (held, failure, retainMs) =>
      settle({ held, state: 'failed', forMs: retainMs, attempts: failure.attempts, failure: failureToJson(failure) }),
    async completeIn(tx, { scope, key, token }, retainMs) {
      const { rowCount } = await tx.query(completeSql, [scope, key, String(token), retainMs])
      return rowCount === 1 ? 'ok' : 'lost'
    },
  }
}

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

interface Statements {
  readonly claimSql: string
  readonly settleSql: string
  readonly completeSql: string
}

function statementsIn(schema: string): Statements {
  // A lock timeout for this statement alone; joined in, so that it is set before the first row waits.
  const bounded = (parameter: string): string =>
    `bounded as materialized (select set_config('lock_timeout', ${parameter}, true))`

  const resent = `i.state = 'in-progress' and i.owner = excluded.owner`
  const over = `i.state in ('completed', 'failed') and i.retain_until <= clock_timestamp()`

  // One autocommitted statement arbitrates, so that a claim never waits for a handler.
  // - Keys are written in order: two batches that share keys cannot deadlock.
  // - The token of a takeover is drawn under the row's lock, so that it is higher than every earlier one.
  // - A claim that is sent again (same owner) keeps its token and its count.
  // - Whoever is not `won` is told what the snapshot shows; where that explains nothing the row is changing right now,
  //   and no row is answered: ask again.
  const claimSql = `
with asked as materialized (
  select * from unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::float8[], $6::text[])
    as asked (n, scope, key, owner, lease_ms, fingerprint)),
${bounded('$7')},
won as (
  insert into ${schema}.idempotency as i (scope, key, state, token, attempts, owner, lease_until, fingerprint)
  select scope, key, 'in-progress', nextval('${schema}.fence'), 1, owner,
    clock_timestamp() + lease_ms * interval '1 ms', fingerprint
  from asked cross join bounded
  order by scope, key
  on conflict (scope, key) do update set
    state = 'in-progress',
    token = case when ${resent} then i.token else nextval('${schema}.fence') end,
    attempts = case when ${resent} then i.attempts when ${over} then 1 else i.attempts + 1 end,
    owner = excluded.owner,
    lease_until = excluded.lease_until,
    fingerprint = case when ${over} then excluded.fingerprint else coalesce(i.fingerprint, excluded.fingerprint) end,
    added_on = case when ${over} then excluded.added_on else i.added_on end,
    retain_until = null,
    failure = null
  where (${over})
    or ((i.state = 'released' or (i.state = 'in-progress' and i.lease_until < clock_timestamp()) or (${resent}))
      and coalesce(i.fingerprint = excluded.fingerprint, true))
  returning i.scope, i.key, i.token, i.attempts)
select asked.n, won.token::text as token, coalesce(won.attempts, 0) as attempts,
  coalesce(known.state, 'claimed') as state, coalesce(known.wait_ms, 0) as wait_ms, known.failure
from asked
left join won on won.scope = asked.scope and won.key = asked.key
left join lateral (
  select
    case when coalesce(i.fingerprint = asked.fingerprint, true) then i.state else 'conflict' end as state,
    ceil(extract(epoch from i.lease_until - clock_timestamp()) * 1000)::float8 as wait_ms,
    i.failure::text as failure
  from ${schema}.idempotency as i
  where won.token is null and i.scope = asked.scope and i.key = asked.key
    and (coalesce(i.fingerprint <> asked.fingerprint, false)
      or (i.state = 'in-progress' and i.lease_until >= clock_timestamp())
      or (i.state in ('completed', 'failed') and i.retain_until > clock_timestamp()))
) as known on true
where won.token is not null or known.state is not null`

  // Renewal, completion, release and failure are one statement, so that they share a batch.
  // The token is the condition, the expiry of the lease is not: while nobody took over, the holder may go on.
  // A state that is already there is set again: the call was sent twice.
  const settleSql = `
with ${bounded('$9')}
update ${schema}.idempotency as i set
  state = asked.state,
  attempts = coalesce(asked.attempts, i.attempts),
  owner = case when asked.state = 'in-progress' then i.owner end,
  lease_until = case when asked.state in ('in-progress', 'released') then clock_timestamp() + asked.for_ms * interval '1 ms' end,
  retain_until = case when asked.state in ('completed', 'failed') then clock_timestamp() + asked.for_ms * interval '1 ms' end,
  failure = asked.failure::jsonb
from unnest($1::int[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::float8[], $7::int[], $8::text[])
  as asked (n, scope, key, token, state, for_ms, attempts, failure)
cross join bounded
where i.scope = asked.scope and i.key = asked.key and i.token = asked.token
  and (i.state = 'in-progress'
    or (i.state = asked.state and coalesce(i.retain_until > clock_timestamp(), true)))
returning asked.n`

  // The last statement of the handler's transaction. It locks the row until the commit: a takeover that comes meanwhile
  // waits for the outcome, and one that came before makes this change nothing.
  const completeSql = `
update ${schema}.idempotency set
  state = 'completed', owner = null, lease_until = null, failure = null,
  retain_until = clock_timestamp() + $4::float8 * interval '1 ms'
where scope = $1 and key = $2 and token = $3::bigint and state = 'in-progress'`

  return { claimSql, settleSql, completeSql }
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
      return { state }
    case 'failed':
      return { state, failure: failureFromJson(textField(row, 'failure')) }
    default:
      return undefined
  }
}

/** Two claims of one key in one batch: the second is told what the first one's answer means for it. */
function followClaim(request: ClaimRequest, first: ClaimRequest, answer: ClaimResult): ClaimResult | undefined {
  if (request.fingerprint === first.fingerprint || answer.state === 'claimed') {
    if (answer.state !== 'claimed' || request.owner === first.owner) return answer
    if (request.fingerprint !== null && first.fingerprint !== null && request.fingerprint !== first.fingerprint)
      return undefined
    return { state: 'in-progress', retryAfterMs: first.leaseMs }
  }
  return undefined
}

function sameKey({ scope, key }: Pick<HeldClaim, 'scope' | 'key'>): string {
  return `${scope.length}:${scope}${key}`
}

// An index row takes 2,704 bytes, scope and key together.
const longestBytes = 1300

function requireStorable(name: string, text: string): void {
  const storable = !text.includes('\0') && text.isWellFormed() && Buffer.byteLength(text) <= longestBytes
  if (!storable) throw badOption(where, name, `well-formed text without NUL, at most ${longestBytes} bytes long`, text)
}
