import { headersFrom, headerText, type Headers } from '../../../core/message.ts'
import { badOption, checkArgument, text } from '../../../core/options.ts'
import { replacesHeader } from '../../../core/redrive.ts'
import { foldOf } from '../../../dead-letter/fold.ts'
import type { Letter, LetterEdit, LetterOperations } from '../../../dead-letter/store.ts'
import { flagField, textField } from '../rows.ts'
import type { LetterContext } from './context.ts'
import { conditionOf, isLetterId } from './filter.ts'
import type { Questions } from './questions.ts'
import { headersToBytes, storable, storableJson } from './rows.ts'

type Changes = Pick<LetterOperations, 'drop' | 'restore' | 'reopen' | 'edit' | 'erase'>

/** What operators do to letters. Each statement asks the state itself, and writes to the operator log. */
export function letterChanges({ run, quoted, bodies }: LetterContext, letter: Questions['letter']): Changes {
  const table = `${quoted}.dead_letter`

  /** Sets a state where the statement's own condition allows it, writes it to the log, and says which letters it were. */
  async function act(
    name: string,
    by: string,
    set: string,
    condition: string,
    values: unknown[],
    more = '',
  ): Promise<string[]> {
    checkArgument(name, 'by', by, text)
    const { rows } = await run(
      `with acted as (
  update ${table} d set ${set}, changed_at = clock_timestamp() where ${condition} returning d.id, d.claim_scope, d.claim_key),
${more}logged as (
  insert into ${quoted}.operator_log (by, act, letter) select $1, '${name}', id from acted)
select id::text from acted order by acted.id`,
      [storable(by), ...values],
    )
    return rows.map((row) => textField(row, 'id') ?? '')
  }

  let parks: Promise<boolean> | undefined
  /** Whether this schema has lanes: a schema may hold letters alone. */
  function mayPark(): Promise<boolean> {
    parks ??= run(`select to_regclass('${quoted}.parked') is not null as there`, []).then(({ rows }) =>
      flagField(rows[0], 'there'),
    )
    parks.catch(() => (parks = undefined))
    return parks
  }

  const ofSubject = (subject: string) =>
    `hashtextextended(d.subject, 0) = hashtextextended(${subject}::text collate "C", 0) and d.subject = ${subject}`

  const byId = (condition: string) => `d.id = any($2::bigint[]) and ${condition}`

  async function edit(id: string, settled: number, change: LetterEdit, by: string): Promise<string | undefined> {
    checkArgument('edit', 'by', by, text)
    const old = await letter(id)
    if (old === undefined || old.state !== 'dead') return undefined
    const messageId = change.messageId ?? crypto.randomUUID()
    if (messageId === old.messageId)
      throw badOption(
        'edit',
        'messageId',
        'another id than that of the letter: an edited message is another message',
        messageId,
      )
    checkArgument('edit', 'messageId', messageId, text)
    const body = change.body === undefined ? old.body : change.body
    const { pipeline, destination, key } = old
    const fold = foldOf({ pipeline, destination, id: messageId, key, body })
    const { rows } = await run(editSql(quoted), [
      id,
      settled,
      fold,
      storable(messageId),
      headersToBytes(editedHeaders(old, change.headers ?? {})),
      bodies.seal(body, fold),
      body === null ? null : bodies.keyId,
      storable(by),
      storableJson({ headers: Object.keys(change.headers ?? {}), body: change.body !== undefined }),
    ])
    return textField(rows[0], 'id') ?? undefined
  }

  return {
    edit,
    // It asks the state itself: a letter that was just sent is not dropped.
    async drop(filter, by) {
      const { sql, values } = conditionOf(filter, 2)
      const fromLanes = (await mayPark()) ? dropParked(quoted, 'acted') : ''
      return act('drop', by, `state = 'dropped'`, `d.state = 'dead' and ${sql}`, [...values], fromLanes)
    },
    restore: async (ids, by) =>
      act('restore', by, `state = 'dead'`, byId(`d.state = 'dropped' and d.body_erased_at is null`), [checked(ids)]),
    async reopen(ids, by) {
      checkArgument('reopen', 'by', by, text)
      const { rows } = await run(reopenSql(quoted), [storable(by), checked(ids)])
      const reopened = rows.map((row) => textField(row, 'id') ?? '')
      await run(
        `update ${quoted}.redrive_item set result = 'cancelled' where letter = any($1::bigint[]) and result is null`,
        [reopened],
      )
      return reopened
    },
    // An update, not a delete: the fold stays, so that a redelivery does not write the person back.
    async erase({ subject }, by) {
      checkArgument('erase', 'subject', subject, text)
      if (await mayPark())
        await run(
          `with acted as (select d.claim_scope, d.claim_key from ${table} d where ${ofSubject('$1')}),
${dropParked(quoted, 'acted')}counted as (select count(*) from removed) select 1 from counted`,
          [storable(subject)],
        )
      const erased = await act(
        'erase',
        by,
        `state = 'dropped', body_erased_at = clock_timestamp(), body = null, body_key = null, headers = null, exact = null,
    message_id = '', key = null, subject = null, trace_id = null, claim_key = null, position = null, error_message = 'erased',
    error_stack = null, history = null`,
        ofSubject('$2'),
        [storable(subject)],
      )
      await run(
        `update ${quoted}.redrive_item set result = 'skipped' where letter = any($1::bigint[]) and result is null and generation is null`,
        [erased],
      )
      return erased.length
    },
  }
}

/**
 * What was sent counts as ended: a death of it that comes later changes nothing. Its permission is spent in the failed key,
 * so that a copy on its way does not run after the letter was dropped. A key in another state is at work: its letter stays.
 */
function reopenSql(quoted: string): string {
  const ofLetter = 'k.scope = d.claim_scope and k.key = d.claim_key'
  return `
with spent as (
  update ${quoted}.idempotency k set generation = greatest(k.generation, d.generation)
  from ${quoted}.dead_letter d
  where d.id = any($2::bigint[]) and d.state = 'redriving' and ${ofLetter} and k.state = 'failed'
  returning d.id),
acted as (
  update ${quoted}.dead_letter d set state = 'dead', settled = greatest(d.settled, d.generation), changed_at = clock_timestamp()
  where d.id = any($2::bigint[]) and d.state = 'redriving'
    and (d.id in (select id from spent) or not exists (select 1 from ${quoted}.idempotency k where ${ofLetter}))
  returning d.id),
logged as (
  insert into ${quoted}.operator_log (by, act, letter) select $1, 'reopen', id from acted)
select id::text from acted order by id`
}

/**
 * Takes the messages of letters that are given up out of their lanes. A lane that such a message blocks is due at once, in the
 * same statement: else its key would stay blocked for ever.
 */
function dropParked(quoted: string, letters: string): string {
  return `rows as (
  select p.pipeline, p.lane, p.scope, p.claim_key,
    p.seq = (select min(first.seq) from ${quoted}.parked first where first.pipeline = p.pipeline and first.lane = p.lane) as is_head
  from ${letters} join ${quoted}.parked p on p.scope = ${letters}.claim_scope and p.claim_key = ${letters}.claim_key),
woken as (
  update ${quoted}.parked_lane l set next_at = clock_timestamp() from rows
  where rows.is_head and l.pipeline = rows.pipeline and l.lane = rows.lane and l.next_at = 'infinity' and l.token is null
  returning l.pipeline, l.lane),
removed as (
  delete from ${quoted}.parked p using rows
  where p.scope = rows.scope and p.claim_key = rows.claim_key
    and (not rows.is_head or exists (select from woken where woken.pipeline = rows.pipeline and woken.lane = rows.lane))
  returning p.claim_key),
`
}

/** The new letter and the end of the old one in one statement, which asks both whether it is dead and whether it changed. */
function editSql(quoted: string): string {
  const kept = `pipeline, system, destination, partition, position, origin_group, key, type, produced_ms, reason, error_name,
    error_code, error_message, error_stack, history, fingerprint, trace_id, subject, claim_scope`
  return `
with new as materialized (
  select nextval(pg_get_serial_sequence('${quoted}.dead_letter', 'id')) as id),
old as (
  update ${quoted}.dead_letter d set state = 'replaced', replaced_by = new.id, changed_at = clock_timestamp()
  from new where d.id = $1::bigint and d.state = 'dead' and d.settled = $2::bigint returning d.*),
made as (
  insert into ${quoted}.dead_letter (id, fold, message_id, headers, body, body_key, attempts, replaces, ${kept})
  overriding system value
  select old.replaced_by, $3::uuid, $4, $5::bytea, $6::bytea, $7, 0, old.id, ${kept} from old returning id, replaces),
logged as (
  insert into ${quoted}.operator_log (by, act, letter, detail)
  select $8, 'edit', replaces, $9::jsonb || jsonb_build_object('made', id) from made)
select id::text from made`
}

/** What the new message was made from: a trace and a person find the old one. */
const causationHeader = 'causation-id'

function editedHeaders(letter: Letter, change: Readonly<Record<string, string | null>>): Headers {
  const { headers: old, messageId: oldId, claimKey } = letter
  const removed = new Set(Object.keys(change).filter((name) => change[name] === null))
  const wireIds = new Set(['message-id', 'ce_id'])
  const kept = Object.entries(old).filter(([name]) => !removed.has(name) && !wireIds.has(name))
  // Of an edit that never ran, the message that did: where that one blocks its key, the edit takes its place.
  const replaces = claimKey ?? headerText(old, replacesHeader)
  const replaced = replaces === undefined ? [] : [[replacesHeader, replaces] as const]
  const set = Object.entries(change).flatMap(([name, value]) => (value === null ? [] : [[name, value] as const]))
  // Pairs throughout: an object on the way would lose a name like __proto__.
  return headersFrom([...kept, [causationHeader, oldId], ...replaced, ...set])
}

function checked(ids: readonly string[]): readonly string[] {
  const bad = ids.find((id) => !isLetterId(id))
  if (bad !== undefined) throw badOption('letters', 'ids', 'numbers of letters', bad)
  return ids
}
