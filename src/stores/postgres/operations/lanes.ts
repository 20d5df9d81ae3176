import { checkArgument, checkOptions, count, flag, text } from '../../../core/options.ts'
import type { OperatorStore, ParkedLane, ParkedMessage } from '../../../operations/store.ts'
import { flagField, numberField, textField } from '../rows.ts'
import type { ClaimContext } from './claims.ts'

type LaneOperations = Required<Pick<OperatorStore, 'parked' | 'parkedMessages' | 'unblockLane' | 'dropParked'>>

/** What operators see of parked keys, and do to them. Each act asks the state itself, and wakes the lane whose head it takes. */
export function laneOperations({ run, ask, quoted, note }: ClaimContext): LaneOperations {
  const head = `(select min(first.seq) from ${quoted}.parked as first where first.pipeline = l.pipeline and first.lane = l.lane)`
  // Unheld and blocked: the first to change it wins, the others find nothing to change.
  const blocked = `l.pipeline = $1 and l.lane = $2 and l.next_at = 'infinity' and l.token is null`

  const listSql = `
select l.pipeline, l.lane, l.token is not null and l.next_at > clock_timestamp() as held, l.next_at = 'infinity' as blocked,
  extract(epoch from nullif(l.next_at, 'infinity'))::float8 * 1000 as next_ms,
  coalesce(h.key_text, '') as key_text, coalesce(h.claim_key, '') as claim_key, coalesce(h.attempts, 0) as attempts, h.error,
  extract(epoch from coalesce(h.parked_at, l.parked_at))::float8 * 1000 as since_ms, coalesce(l.tail - h.seq + 1, 0)::float8 as messages
from ${quoted}.parked_lane as l
left join lateral (
  select * from ${quoted}.parked as p where p.pipeline = l.pipeline and p.lane = l.lane order by p.seq limit 1) as h on true
where ($1::text is null or l.pipeline = $1) and ($2::text is null or h.key_text = $2) and (not $3::boolean or l.next_at = 'infinity')
  and ($5::text is null or l.lane = $5)
order by coalesce(h.parked_at, l.parked_at) limit $4::int`

  const unblockSql = `
with woken as (
  update ${quoted}.parked_lane as l set next_at = clock_timestamp() where ${blocked} returning l.pipeline, l.lane)
update ${quoted}.parked as p set generation = nextval('${quoted}.fence')
from woken as l where p.pipeline = l.pipeline and p.lane = l.lane and p.seq = ${head}
returning p.claim_key`

  // Without its head the lane is due at once: a key whose dead head is gone must not stay blocked.
  const dropHeadSql = `
with woken as (
  update ${quoted}.parked_lane as l set next_at = clock_timestamp()
  where ${blocked} and exists (select from ${quoted}.parked as p
    where p.pipeline = l.pipeline and p.lane = l.lane and p.seq = ${head} and p.claim_key = $3)
  returning l.pipeline, l.lane)
delete from ${quoted}.parked as p using woken as l
where p.pipeline = l.pipeline and p.lane = l.lane and p.claim_key = $3 and p.seq = ${head}
returning p.claim_key`

  // As a worker would: the lane is taken, emptied and freed at the tail that was emptied.
  const takeSql = `
update ${quoted}.parked_lane as l set token = nextval('${quoted}.fence'), owner = $3, next_at = clock_timestamp() + interval '10 s'
where l.pipeline = $1 and l.lane = $2 and (l.token is null or l.next_at <= clock_timestamp())
returning l.token::text as token, l.tail::text as tail`
  const emptySql = `
delete from ${quoted}.parked as p using ${quoted}.parked_lane as l
where l.pipeline = $1 and l.lane = $2 and l.token = $3::bigint and p.pipeline = l.pipeline and p.lane = l.lane
returning p.claim_key`
  const freeSql = `delete from ${quoted}.parked_lane where pipeline = $1 and lane = $2 and token = $3::bigint and tail = $4::bigint`
  // More came meanwhile: those stay, and are due now.
  const wakeSql = `
update ${quoted}.parked_lane set token = null, owner = null, next_at = clock_timestamp()
where pipeline = $1 and lane = $2 and token = $3::bigint`

  async function dropAll(scope: string, lane: string): Promise<number> {
    const { rows: taken } = await run(takeSql, [scope, lane, 'operator'])
    const token = textField(taken[0], 'token')
    if (token === null) return 0
    const { rows: dropped } = await run(emptySql, [scope, lane, token])
    const { rowCount } = await run(freeSql, [scope, lane, token, textField(taken[0], 'tail')])
    if (rowCount !== 1) await run(wakeSql, [scope, lane, token])
    return dropped.length
  }

  return {
    async parked(options = {}) {
      const kinds = { limit: count(), scope: text, key: text, lane: text, blocked: flag }
      const {
        limit = 50,
        scope = null,
        key = null,
        lane = null,
        blocked = false,
      } = checkOptions('parked', options, kinds)
      // A schema may be made without lanes.
      const { rows } = await ask(`select to_regclass('${quoted}.parked_lane') is not null as made`, [])
      if (!flagField(rows[0], 'made')) return []
      return (await ask(listSql, [scope, key, blocked, limit, lane])).rows.map(laneFrom)
    },
    async parkedMessages(scope, lane, limit = 50) {
      checkArgument('parkedMessages', 'limit', limit, count())
      const { rows } = await ask(
        `select p.scope, p.claim_key, p.generation::text as generation, p.attempts, coalesce(length(p.body), 0) as bytes, p.error,
  extract(epoch from p.parked_at)::float8 * 1000 as since_ms
from ${quoted}.parked as p where p.pipeline = $1 and p.lane = $2 order by p.seq limit $3::int`,
        [scope, lane, limit],
      )
      return rows.map(messageFrom)
    },
    async unblockLane(scope, lane, by) {
      checkArgument('unblockLane', 'by', by, text)
      const { rows } = await run(unblockSql, [scope, lane])
      if (rows.length === 1) {
        await note(by, 'keys unblock', { pipeline: scope, lane, claimKey: textField(rows[0], 'claim_key') })
        return 'ok'
      }
      const { rows: known } = await ask(
        `select l.token is not null as held from ${quoted}.parked_lane as l where l.pipeline = $1 and l.lane = $2`,
        [scope, lane],
      )
      return flagField(known[0], 'held') ? 'held' : 'none'
    },
    async dropParked(scope, lane, by, what) {
      checkArgument('dropParked', 'by', by, text)
      const dropped =
        what === 'all' ? await dropAll(scope, lane) : (await run(dropHeadSql, [scope, lane, what.claimKey])).rows.length
      if (dropped > 0) await note(by, 'keys drop', { pipeline: scope, lane, dropped })
      return dropped
    },
  }
}

function laneFrom(row: unknown): ParkedLane {
  return {
    scope: textField(row, 'pipeline') ?? '',
    lane: textField(row, 'lane') ?? '',
    held: flagField(row, 'held'),
    claimKey: textField(row, 'claim_key') ?? '',
    key: textField(row, 'key_text') ?? '',
    messages: numberField(row, 'messages'),
    sinceMs: numberField(row, 'since_ms'),
    nextMs: flagField(row, 'blocked') ? null : numberField(row, 'next_ms'),
    attempts: numberField(row, 'attempts'),
    error: textField(row, 'error'),
  }
}

function messageFrom(row: unknown): ParkedMessage {
  return {
    claimScope: textField(row, 'scope') ?? '',
    claimKey: textField(row, 'claim_key') ?? '',
    generation: Number(textField(row, 'generation') ?? 0),
    attempts: numberField(row, 'attempts'),
    bytes: numberField(row, 'bytes'),
    sinceMs: numberField(row, 'since_ms'),
    error: textField(row, 'error'),
  }
}
