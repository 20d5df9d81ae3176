import { checkArgument, checkOptions, count, flag, ms, text } from '../../../core/options.ts'
import type { ClaimRecord, KeysBound, OperatorStore } from '../../../operations/store.ts'
import { failureFromJson } from '../../failure-json.ts'
import type { Run } from '../dead-letter/run.ts'
import { field, numberField, textField } from '../rows.ts'

export interface ClaimContext {
  readonly run: Run
  readonly ask: Run
  readonly quoted: string
  readonly note: (by: string, act: string, detail: unknown) => Promise<void>
}

/** Read in a second or two, far from the limit of a question. */
const mostLookedAt = 2_000_000

const columns = `i.scope, i.key, i.state, i.attempts, i.token::text, i.generation::text, i.owner,
  extract(epoch from i.lease_until)::float8 * 1000 as lease_ms, extract(epoch from i.retain_until)::float8 * 1000 as retained_ms,
  i.failure::text as failure`

/** Finds a key in every scope by its index, which begins with the scope: one look-up for each scope there is. */
export function claimsOfKey(quoted: string): string {
  return `
with recursive scopes (scope) as (
  (select scope from ${quoted}.idempotency order by scope limit 1)
  union all
  select (select i.scope from ${quoted}.idempotency i where i.scope > s.scope order by i.scope limit 1)
  from scopes s where s.scope is not null)
select ${columns} from scopes s join ${quoted}.idempotency i on i.scope = s.scope and i.key = $1 order by i.scope limit 100`
}

export function claimRecords({
  run,
  ask,
  quoted,
  note,
}: ClaimContext): Pick<OperatorStore, 'keys' | 'keysBound' | 'unblock' | 'claims' | 'forget'> {
  /** By the planner's estimate: a count would read the whole table. */
  async function bound(lookAt: number): Promise<KeysBound | undefined> {
    const { rows } = await ask(
      `select reltuples::float8 as keys from pg_class where oid = '${quoted}.idempotency'::regclass`,
      [],
    )
    const keys = numberField(rows[0], 'keys')
    return keys > lookAt ? { newest: lookAt, of: keys } : undefined
  }

  return {
    keysBound(options = {}) {
      const { lookAt = mostLookedAt } = checkOptions('keysBound', options, { lookAt: count() })
      return bound(lookAt)
    },
    async keys(options = {}) {
      const {
        staleMs = 60_000,
        scope = null,
        limit = 50,
        lookAt = mostLookedAt,
      } = checkOptions('keys', options, {
        staleMs: ms(0),
        scope: text,
        limit: count(),
        lookAt: count(),
      })
      // No index knows leases, since claims and completions would have to write it. Of very many keys those that came last are
      // looked at, by the index of the day. The lease comes first: of a key that is settled it is null, which ends the look at
      // its row.
      const table = `${quoted}.idempotency`
      const few = (await bound(lookAt)) === undefined
      const from = few ? table : `(select * from ${table} order by added_on desc limit ${lookAt})`
      const stale =
        staleMs === 0
          ? 'i.lease_until is not null and $1::float8 = 0'
          : `i.lease_until < statement_timestamp() - $1::float8 * interval '1 ms'`
      const { rows } = await ask(
        `select ${columns} from ${from} i
where ${stale} and i.state = 'in-progress'${scope === null ? '' : ' and i.scope = $3'}
order by i.lease_until limit $2::int`,
        [staleMs, limit, ...(scope === null ? [] : [scope])],
      )
      return rows.map(claimFrom)
    },
    async unblock(scope, key, by, options = {}) {
      checkArgument('unblock', 'by', by, text)
      const { force = false } = checkOptions('unblock', options, { force: flag })
      // A new token: the earlier holder changes nothing any more.
      const { rows } = await run(
        `with known as (select state from ${quoted}.idempotency where scope = $1 and key = $2),
freed as (
  update ${quoted}.idempotency set state = 'released', owner = null, lease_until = clock_timestamp(), token = nextval('${quoted}.fence')
  where scope = $1 and key = $2 and state = 'in-progress' and ($3::boolean or lease_until < clock_timestamp()) returning 1)
select (select state from known) as known, exists (select 1 from freed) as freed`,
        [scope, key, force],
      )
      const freed = field(rows[0], 'freed') === true
      if (freed) await note(by, 'keys unblock', { scope, key, force })
      if (freed) return 'ok'
      return textField(rows[0], 'known') === 'in-progress' ? 'held' : 'none'
    },
    async claims(key, scope) {
      const { rows } =
        scope === undefined
          ? await ask(claimsOfKey(quoted), [key])
          : await ask(`select ${columns} from ${quoted}.idempotency i where i.scope = $1 and i.key = $2`, [scope, key])
      return rows.map(claimFrom)
    },
    async forget(scope, key, by) {
      checkArgument('forget', 'by', by, text)
      const { rowCount } = await run(
        `delete from ${quoted}.idempotency where scope = $1 and key = $2
  and not (state = 'in-progress' and lease_until >= clock_timestamp())`,
        [scope, key],
      )
      if (rowCount === 1) await note(by, 'idempotency forget', { scope, key })
      return rowCount === 1
    },
  }
}

const states: readonly ClaimRecord['state'][] = ['in-progress', 'completed', 'failed', 'released']

export function claimFrom(row: unknown): ClaimRecord {
  const state = textField(row, 'state')
  const failure = textField(row, 'failure')
  const orNull = (name: string): number | null => (field(row, name) === null ? null : numberField(row, name))
  return {
    scope: textField(row, 'scope') ?? '',
    key: textField(row, 'key') ?? '',
    state: states.find((each) => each === state) ?? 'released',
    attempts: numberField(row, 'attempts'),
    token: textField(row, 'token') ?? '',
    generation: numberField(row, 'generation'),
    owner: textField(row, 'owner'),
    leaseMs: orNull('lease_ms'),
    retainedMs: orNull('retained_ms'),
    failure: failure === null ? null : failureFromJson(failure),
  }
}
