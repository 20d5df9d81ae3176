import { badOption, checkArgument, count, text } from '../../../core/options.ts'
import { withHeaders, headersFrom, type Headers } from '../../../core/message.ts'
import type { DeadLetter } from '../../../dead-letter/envelope.ts'
import { fingerprintVersion, shapeOf } from '../../../dead-letter/fingerprint.ts'
import { foldOf } from '../../../dead-letter/fold.ts'
import { isFailureReason } from '../../../core/errors.ts'
import type {
  Letter,
  LetterEdit,
  LetterFilter,
  LetterGroup,
  LetterOperations,
  LetterPage,
  ListOptions,
  OperatorAct,
} from '../../../dead-letter/store.ts'
import { field, numberField, textField } from '../rows.ts'
import type { Bodies } from './bodies.ts'
import { conditionOf, isLetterId } from './filter.ts'
import { headersToBytes, letterColumns, letterFrom, storable, summaryColumns, summaryFrom } from './rows.ts'
import type { Run } from './run.ts'

export interface LetterContext {
  readonly run: Run
  /** For questions: each has an end. */
  readonly ask: Run
  readonly quoted: string
  readonly bodies: Bodies
  readonly fingerprint: (letter: DeadLetter) => string
  readonly retainMs: number
  readonly retainDeadMs: number | null
  readonly batchSize: number
}

type Part = Omit<
  LetterOperations,
  'preview' | 'create' | 'redrives' | 'redrive' | 'redriveItems' | 'pause' | 'resume' | 'cancel'
>

export function letterOperations(context: LetterContext): Part {
  const { run, ask, quoted, bodies, fingerprint, retainMs, retainDeadMs, batchSize } = context
  const table = `${quoted}.dead_letter`
  const live = `d.state in ('dead', 'redriving')`
  const openItem = `exists (select 1 from ${quoted}.redrive_item i where i.letter = d.id and i.result is null)`

  async function list(filter: LetterFilter, options: ListOptions = {}): Promise<LetterPage> {
    const { limit = 50, before, states, order = 'newest' } = options
    checkArgument('list', 'limit', limit, count())
    const condition = conditionOf(filter)
    const values = [...condition.values]
    const parts = [condition.sql, stateCondition(states, values)]
    // By position, never by OFFSET: page 10,000 is as fast as page 1.
    const cursor = cursorFrom(before)
    if (cursor !== undefined) {
      values.push(cursor.us, cursor.id)
      const place = `('epoch'::timestamptz + $${values.length - 1}::float8 * interval '1 us', $${values.length}::bigint)`
      parts.push(`(d.dead_at, d.id) ${order === 'newest' ? '<' : '>'} ${place}`)
    }
    const direction = order === 'newest' ? 'desc' : 'asc'
    values.push(limit + 1)
    const { rows } = await ask(
      `select ${summaryColumns}, round(extract(epoch from d.dead_at) * 1000000)::bigint::text as us
from ${table} d where ${parts.join(' and ')}
order by d.dead_at ${direction}, d.id ${direction} limit $${values.length}::int`,
      values,
    )
    const shown = rows.slice(0, limit)
    const last = rows.length > limit ? shown.at(-1) : undefined
    return {
      letters: shown.map(summaryFrom),
      next: last === undefined ? null : `${textField(last, 'us')}.${textField(last, 'id')}`,
    }
  }

  // The newest of each group is looked up by index, once a group.
  async function groups(filter: LetterFilter, limit = 50): Promise<readonly LetterGroup[]> {
    checkArgument('groups', 'limit', limit, count())
    const condition = conditionOf(filter, 2)
    const { rows } = await ask(
      `select g.*, s.error_name, s.error_message from (
  select d.fingerprint, d.pipeline, count(*)::int as letters, extract(epoch from min(d.dead_at))::float8 * 1000 as first_ms,
    extract(epoch from max(d.dead_at))::float8 * 1000 as last_ms
  from ${table} d where ${live} and ${condition.sql} group by 1, 2 order by 3 desc, 1, 2 limit $1::int) g
cross join lateral (
  select left(d.error_name, 250) as error_name, left(d.error_message, 2048) as error_message from ${table} d
  where ${live} and d.fingerprint = g.fingerprint and d.pipeline = g.pipeline
  order by d.dead_at desc, d.id desc limit 1) s
order by g.letters desc, g.last_ms desc`,
      [limit, ...condition.values],
    )
    return rows.map(groupFrom)
  }

  async function letter(id: string): Promise<Letter | undefined> {
    if (!isLetterId(id)) return undefined
    const { rows } = await ask(
      `select ${letterColumns}, (select k.state from ${quoted}.idempotency k
    where k.scope = d.claim_scope and k.key = d.claim_key
      and (k.retain_until is null or k.retain_until > clock_timestamp())) as claim_state
from ${table} d where d.id = $1::bigint`,
      [id],
    )
    return rows.length === 0 ? undefined : letterFrom(rows[0], bodies)
  }

  /** Sets a state where the statement's own condition allows it, writes it to the log, and says which letters it were. */
  async function act(name: string, by: string, set: string, condition: string, values: unknown[]): Promise<string[]> {
    checkArgument(name, 'by', by, text)
    const { rows } = await run(
      `with acted as (
  update ${table} d set ${set}, changed_at = clock_timestamp() where ${condition} returning d.id),
logged as (
  insert into ${quoted}.operator_log (by, act, letter) select $1, '${name}', id from acted)
select id::text from acted order by id`,
      [storable(by), ...values],
    )
    return rows.map((row) => textField(row, 'id') ?? '')
  }

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
      headersToBytes(editedHeaders(old.headers, change.headers ?? {}, old.messageId)),
      bodies.seal(body, fold),
      body === null ? null : bodies.keyId,
      storable(by),
      JSON.stringify({ headers: Object.keys(change.headers ?? {}), body: change.body !== undefined }),
    ])
    return textField(rows[0], 'id') ?? undefined
  }

  return {
    list,
    groups,
    letter,
    edit,
    async count(filter) {
      const { sql, values } = conditionOf(filter)
      const { rows } = await ask(`select count(*)::int as n from ${table} d where ${live} and ${sql}`, [...values])
      return numberField(rows[0], 'n')
    },
    // It asks the state itself: a letter that was just sent is not dropped.
    async drop(filter, by) {
      const { sql, values } = conditionOf(filter, 2)
      return act('drop', by, `state = 'dropped'`, `d.state = 'dead' and ${sql}`, [...values])
    },
    restore: async (ids, by) =>
      act('restore', by, `state = 'dead'`, byId(`d.state = 'dropped' and d.body_erased_at is null`), [checked(ids)]),
    // What was sent counts as ended: a death of it that comes later changes nothing.
    async reopen(ids, by) {
      const reopened = await act(
        'reopen',
        by,
        `state = 'dead', settled = greatest(d.settled, d.generation)`,
        byId(`d.state = 'redriving'`),
        [checked(ids)],
      )
      await run(
        `update ${quoted}.redrive_item set result = 'cancelled' where letter = any($1::bigint[]) and result is null`,
        [reopened],
      )
      return reopened
    },
    // An update, not a delete: the fold stays, so that a redelivery does not write the person back.
    async erase({ subject }, by) {
      checkArgument('erase', 'subject', subject, text)
      const erased = await act(
        'erase',
        by,
        `state = 'dropped', body_erased_at = clock_timestamp(), body = null, body_key = null, headers = null, exact = null,
    message_id = '', key = null, subject = null, trace_id = null, claim_key = null, position = null, error_message = 'erased',
    error_stack = null, history = null`,
        `hashtextextended(d.subject, 0) = hashtextextended($2::text collate "C", 0) and d.subject = $2`,
        [storable(subject)],
      )
      await run(
        `update ${quoted}.redrive_item set result = 'skipped' where letter = any($1::bigint[]) and result is null and generation is null`,
        [erased],
      )
      return erased.length
    },
    async clean() {
      const gone = async (condition: string, ms: number) => {
        const { rowCount } = await run(
          `delete from ${table} where id = any (array(
  select d.id from ${table} d where ${condition} and not ${openItem} order by d.changed_at limit $2 for update skip locked))`,
          [ms, batchSize],
        )
        return rowCount ?? 0
      }
      const old = (column: string) => `${column} < statement_timestamp() - $1::float8 * interval '1 ms'`
      let cleaned = await gone(`d.state in ('resolved', 'replaced', 'dropped') and ${old('d.changed_at')}`, retainMs)
      if (retainDeadMs !== null) cleaned += await gone(`d.state = 'dead' and ${old('d.dead_at')}`, retainDeadMs)
      await run(
        `delete from ${quoted}.redrive r where r.state in ('done', 'cancelled') and ${old('r.ended_at')}
  and not exists (select 1 from ${quoted}.redrive_item i where i.redrive = r.id and i.result is null)`,
        [retainMs],
      )
      return cleaned
    },
    async rotate(limit = batchSize) {
      const { rows } = await run(
        `select d.id::text, d.fold::text, d.body, d.body_key from ${table} d
where d.body is not null and d.body_key is distinct from $1 order by d.id limit $2`,
        [bodies.keyId, limit],
      )
      let rotated = 0
      for (const row of rows) {
        const [fold, from] = [textField(row, 'fold') ?? '', textField(row, 'body_key')]
        const stored = field(row, 'body')
        const body = bodies.open(stored instanceof Uint8Array ? stored : null, from, fold)
        const { rowCount } = await run(
          `update ${table} set body = $2, body_key = $3 where id = $1::bigint and body_key is not distinct from $4 and body is not null`,
          [textField(row, 'id'), bodies.seal(body, fold), bodies.keyId, from],
        )
        rotated += rowCount ?? 0
      }
      return rotated
    },
    async regroup(limit = batchSize) {
      const { rows } = await run(
        `select ${letterColumns}, null as claim_state from ${table} d
where ${live} and d.fingerprint ~ '^[0-9]+-' and d.fingerprint !~ $1 order by d.id limit $2`,
        [`^${fingerprintVersion}-`, limit],
      )
      for (const row of rows) {
        const old = letterFrom(row, bodies)
        await run(`update ${table} set fingerprint = $2 where id = $1::bigint and fingerprint = $3`, [
          old.id,
          storable(fingerprint(asDeadLetter(old))),
          old.group,
        ])
      }
      return rows.length
    },
    async log({ limit = 100, before } = {}) {
      checkArgument('log', 'limit', limit, count())
      const { rows } = await ask(
        `select id::text, extract(epoch from at)::float8 * 1000 as at_ms, by, act, letter::text, redrive::text, detail::text
from ${quoted}.operator_log where id < $1::bigint order by id desc limit $2`,
        [before !== undefined && isLetterId(before) ? before : '9223372036854775807', limit],
      )
      return rows.map(actFrom)
    },
    async note({ by, act: what, letter: about, detail }) {
      await run(`insert into ${quoted}.operator_log (by, act, letter, detail) values ($1, $2, $3::bigint, $4::jsonb)`, [
        storable(by),
        storable(what),
        about ?? null,
        detail === undefined ? null : storable(JSON.stringify(detail)).replaceAll('\\u0000', ''),
      ])
    },
  }
}

/** The new letter and the end of the old one in one statement, which asks both whether it is dead and whether it changed. */
function editSql(quoted: string): string {
  const kept = `pipeline, system, destination, partition, position, origin_group, key, type, produced_ms, reason, error_name,
    error_code, error_message, error_stack, history, fingerprint, trace_id, subject, claim_scope`
  return `
with old as (
  update ${quoted}.dead_letter set state = 'replaced', changed_at = clock_timestamp()
  where id = $1::bigint and state = 'dead' and settled = $2::bigint returning *),
made as (
  insert into ${quoted}.dead_letter (fold, message_id, headers, body, body_key, attempts, replaces, ${kept})
  select $3::uuid, $4, $5::bytea, $6::bytea, $7, 0, id, ${kept} from old returning id, replaces),
logged as (
  insert into ${quoted}.operator_log (by, act, letter, detail)
  select $8, 'edit', replaces, $9::jsonb || jsonb_build_object('made', id) from made)
select id::text from made`
}

/** What the new message was made from: a trace and a person find the old one. */
const causationHeader = 'causation-id'

function editedHeaders(old: Headers, change: Readonly<Record<string, string | null>>, oldId: string): Headers {
  const removed = new Set(Object.keys(change).filter((name) => change[name] === null))
  const wireIds = new Set(['message-id', 'ce_id'])
  const kept = headersFrom(
    Object.keys(old)
      .filter((name) => !removed.has(name) && !wireIds.has(name))
      .map((name) => [name, old[name] ?? ''] as const),
  )
  const set: Record<string, string> = { [causationHeader]: oldId }
  for (const [name, value] of Object.entries(change)) if (value !== null) set[name] = value
  return withHeaders(kept, set)
}

function stateCondition(states: ListOptions['states'], values: unknown[]): string {
  // Written out: only so does PostgreSQL see that the partial indexes fit.
  if (states === undefined) return `d.state in ('dead', 'redriving')`
  values.push(states)
  return `d.state = any($${values.length}::text[])`
}

function cursorFrom(before: string | undefined): { readonly us: string; readonly id: string } | undefined {
  if (before === undefined) return undefined
  const found = /^(-?\d{1,17})\.(\d{1,18})$/.exec(before)
  if (found === null) throw badOption('list', 'before', 'the `next` of a page', before)
  return { us: found[1] ?? '', id: found[2] ?? '' }
}

function checked(ids: readonly string[]): readonly string[] {
  const bad = ids.find((id) => !isLetterId(id))
  if (bad !== undefined) throw badOption('letters', 'ids', 'numbers of letters', bad)
  return ids
}

function groupFrom(row: unknown): LetterGroup {
  const errorMessage = textField(row, 'error_message') ?? ''
  return {
    group: textField(row, 'fingerprint') ?? '',
    pipeline: textField(row, 'pipeline') ?? '',
    letters: numberField(row, 'letters'),
    firstMs: numberField(row, 'first_ms'),
    lastMs: numberField(row, 'last_ms'),
    shape: shapeOf(errorMessage),
    errorName: textField(row, 'error_name') ?? '',
    errorMessage: errorMessage.slice(0, 500),
  }
}

function actFrom(row: unknown): OperatorAct {
  const detail = textField(row, 'detail')
  return {
    id: textField(row, 'id') ?? '',
    atMs: numberField(row, 'at_ms'),
    by: textField(row, 'by') ?? '',
    act: textField(row, 'act') ?? '',
    letter: textField(row, 'letter'),
    redrive: textField(row, 'redrive'),
    detail: detail === null ? null : (JSON.parse(detail) as unknown),
  }
}

function asDeadLetter(letter: Letter): DeadLetter {
  const { messageId, type, key, headers, body, producedMs, reason, deadMs, deaths } = letter
  return {
    message: { id: messageId, type, key, headers, body, timeMs: producedMs },
    metadata: {
      ...letter,
      reason: isFailureReason(reason) ? reason : 'unhandled',
      timeMs: deadMs,
      count: deaths,
    },
  }
}
