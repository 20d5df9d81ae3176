import { storedKey } from '../../../core/stored-key.ts'
import type { MessageTraces, ParkedTrace } from '../../../operations/store.ts'
import type { LetterOperations } from '../../../dead-letter/store.ts'
import { storable } from '../dead-letter/rows.ts'
import { bounded, type OperatorPool, type Run } from '../dead-letter/run.ts'
import { sqlState } from '../failures.ts'
import { field, flagField, numberField, textField } from '../rows.ts'
import { claimFrom, claimsOfKey } from './claims.ts'

export interface TraceContext {
  readonly ask: Run
  readonly quoted: string
  readonly letters: LetterOperations
  readonly pool: OperatorPool
  readonly schema: string
}

// The outbox has no index on ids, which would cost every INSERT: so this much time is all that it gets.
const outboxMs = 2000

export function messageTraces({
  ask,
  quoted,
  letters,
  pool,
  schema,
}: TraceContext): (messageId: string) => Promise<MessageTraces> {
  const shortly = bounded(pool, 'explain', schema, outboxMs)
  const at = (column: string): string => `extract(epoch from ${column})::float8 * 1000 as at_ms`

  async function outboxRows(id: string): Promise<{ rows: readonly unknown[]; incomplete: boolean }> {
    const made = await ask(`select to_regclass('${quoted}.outbox_dead') is not null as made`, [])
    if (field(made.rows[0], 'made') !== true) return { rows: [], incomplete: false }
    try {
      const { rows } = await shortly(
        `select id::text, topic, 'waiting' as state, ${at('created_at')}, null as error from ${quoted}.outbox where message_id = $1
union all select seq::text, topic, 'delayed', ${at('due_at')}, null from ${quoted}.outbox_delayed where message_id = $1
union all select id::text, topic, 'refused', ${at('died_at')}, left(error, 500) from ${quoted}.outbox_dead where message_id = $1
limit 50`,
        [id],
      )
      return { rows, incomplete: false }
    } catch (error) {
      if (sqlState(error) !== '57014') throw error
      return { rows: [], incomplete: true }
    }
  }

  /** What is kept aside under these keys of claims, in whatever scope: one look-up for each scope there is. */
  async function parkedRows(keys: readonly string[]): Promise<readonly ParkedTrace[]> {
    const made = await ask(`select to_regclass('${quoted}.parked') is not null as made`, [])
    if (field(made.rows[0], 'made') !== true) return []
    const { rows } = await ask(
      `with recursive scopes (scope) as (
  (select scope from ${quoted}.parked order by scope limit 1)
  union all
  select (select p.scope from ${quoted}.parked p where p.scope > s.scope order by p.scope limit 1)
  from scopes s where s.scope is not null)
select p.pipeline, p.lane, p.claim_key, p.attempts, p.error, l.next_at = 'infinity' as blocked,
  l.token is not null and l.next_at > clock_timestamp() as held,
  extract(epoch from nullif(l.next_at, 'infinity'))::float8 * 1000 as next_ms, ${at('p.parked_at')},
  (select count(*) from ${quoted}.parked b where b.pipeline = p.pipeline and b.lane = p.lane and b.seq < p.seq) as ahead
from scopes s join ${quoted}.parked p on p.scope = s.scope and p.claim_key = any($1::text[])
join ${quoted}.parked_lane l on l.pipeline = p.pipeline and l.lane = p.lane order by p.scope, p.claim_key limit 100`,
      [keys],
    )
    return rows.map((row) => ({
      pipeline: textField(row, 'pipeline') ?? '',
      lane: textField(row, 'lane') ?? '',
      claimKey: textField(row, 'claim_key') ?? '',
      ahead: numberField(row, 'ahead'),
      attempts: numberField(row, 'attempts'),
      error: textField(row, 'error'),
      sinceMs: numberField(row, 'at_ms'),
      nextMs: flagField(row, 'blocked') ? null : numberField(row, 'next_ms'),
      held: flagField(row, 'held'),
    }))
  }

  return async (messageId) => {
    const id = storable(messageId)
    const page = await letters.list(
      { messageId },
      { limit: 20, states: ['dead', 'redriving', 'resolved', 'replaced', 'dropped'], order: 'oldest' },
    )
    const found = (await Promise.all(page.letters.map((each) => letters.letter(each.id)))).filter(
      (each) => each !== undefined,
    )
    const ids = found.map((letter) => letter.id)
    const named = found.filter(({ claimKey, messageId: of }) => claimKey !== null && claimKey !== of)
    const keys = [...new Set([storedKey(messageId), ...named.map(({ claimKey }) => claimKey ?? '')])]
    const [claims, redrives, acts, journal, outbox, parked] = await Promise.all([
      Promise.all(keys.map((key) => ask(claimsOfKey(quoted), [key]))),
      ask(
        `select i.redrive::text, i.letter::text, r.by, i.result, i.generation::text, ${at('r.created_at')}
from ${quoted}.redrive_item i join ${quoted}.redrive r on r.id = i.redrive where i.letter = any($1::bigint[]) order by i.redrive limit 100`,
        [ids],
      ),
      ask(
        `select by, act, letter::text, ${at('at')} from ${quoted}.operator_log where letter = any($1::bigint[]) order by id limit 100`,
        [ids],
      ),
      ask(
        `select message_id, pipeline, what, attempt, detail, ${at('at')} from ${quoted}.journal
where hashtextextended(message_id, 0) = hashtextextended($1::text collate "C", 0) and message_id = $1 order by at, id limit 500`,
        [id],
      ),
      outboxRows(id),
      parkedRows(keys),
    ])
    return {
      letters: found,
      claims: claims.flatMap(({ rows }) => rows.map(claimFrom)),
      redrives: redrives.rows.map((row) => ({
        redrive: textField(row, 'redrive') ?? '',
        letter: textField(row, 'letter') ?? '',
        by: textField(row, 'by') ?? '',
        result: textField(row, 'result'),
        generation: field(row, 'generation') === null ? null : numberField(row, 'generation'),
        atMs: numberField(row, 'at_ms'),
      })),
      acts: acts.rows.map((row) => ({
        by: textField(row, 'by') ?? '',
        act: textField(row, 'act') ?? '',
        letter: textField(row, 'letter') ?? '',
        atMs: numberField(row, 'at_ms'),
      })),
      journal: journal.rows.map((row) => ({
        messageId,
        pipeline: textField(row, 'pipeline') ?? '',
        what: textField(row, 'what') ?? '',
        attempt: numberField(row, 'attempt'),
        detail: textField(row, 'detail'),
        atMs: numberField(row, 'at_ms'),
      })),
      outbox: outbox.rows.map((row) => {
        const state = textField(row, 'state')
        return {
          position: textField(row, 'id') ?? '',
          destination: textField(row, 'topic') ?? '',
          state: state === 'delayed' || state === 'refused' ? state : 'waiting',
          atMs: numberField(row, 'at_ms'),
          error: textField(row, 'error'),
        }
      }),
      parked,
      incomplete: outbox.incomplete ? [`the outbox, which was searched for ${outboxMs} ms`] : [],
    }
  }
}
