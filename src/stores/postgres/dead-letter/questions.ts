import { badOption, checkArgument, count } from '../../../core/options.ts'
import { shapeOf } from '../../../dead-letter/fingerprint.ts'
import type {
  Letter,
  LetterFilter,
  LetterGroup,
  LetterOperations,
  LetterPage,
  LetterTally,
  ListOptions,
} from '../../../dead-letter/store.ts'
import { numberField, textField } from '../rows.ts'
import type { LetterContext } from './context.ts'
import { conditionOf, isLetterId } from './filter.ts'
import { letterColumns, letterFrom, letterStates, summaryColumns, summaryFrom } from './rows.ts'

/** As SQL, written out: only so does PostgreSQL see that the partial indexes fit. */
export const live = `d.state in ('dead', 'redriving')`

export type Questions = Pick<LetterOperations, 'list' | 'count' | 'groups' | 'tally' | 'letter'>

/** What operators ask about letters. */
export function letterQuestions({ ask, quoted, bodies }: LetterContext): Questions {
  const table = `${quoted}.dead_letter`

  async function list(filter: LetterFilter, options: ListOptions = {}): Promise<LetterPage> {
    const { limit = 50, before, states, order = 'newest' } = options
    checkArgument('list', 'limit', limit, count())
    const condition = conditionOf(filter)
    const values = [...condition.values]
    const parts = [condition.sql, stateCondition(states)]
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

  // One pass over an index counts; the ends of each group and its newest letter are looked up, once for each that is shown.
  // What a text filters is in no index: there the pass itself tells the ends.
  async function tally(filter: LetterFilter, limit = 50): Promise<LetterTally> {
    checkArgument('groups', 'limit', limit, count())
    const condition = conditionOf(filter, 2)
    const ofGroup = `${live} and d.fingerprint = g.fingerprint and d.pipeline = g.pipeline`
    const end = (direction: 'asc' | 'desc'): string =>
      `(select d.dead_at from ${table} d where ${ofGroup} and ${condition.sql} order by d.dead_at ${direction}, d.id ${direction} limit 1)`
    const byIndex = filter.text === undefined
    const { rows } = await ask(
      `select g.fingerprint, g.pipeline, g.letters, g.total, extract(epoch from ${byIndex ? end('asc') : 'g.first'})::float8 * 1000 as first_ms,
  extract(epoch from ${byIndex ? end('desc') : 'g.last'})::float8 * 1000 as last_ms, s.error_name, s.error_message
from (
  select d.fingerprint, d.pipeline, count(*)::int as letters, (sum(count(*)) over ())::int as total${byIndex ? '' : ', min(d.dead_at) as first, max(d.dead_at) as last'}
  from ${table} d where ${live} and ${condition.sql} group by 1, 2 order by 3 desc, 1, 2 limit $1::int) g
cross join lateral (
  select left(d.error_name, 250) as error_name, left(d.error_message, 2048) as error_message from ${table} d
  where ${ofGroup} order by d.dead_at desc, d.id desc limit 1) s
order by g.letters desc, last_ms desc`,
      [limit, ...condition.values],
    )
    return { letters: rows.length === 0 ? 0 : numberField(rows[0], 'total'), groups: rows.map(groupFrom) }
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

  return {
    list,
    tally,
    groups: async (filter, limit) => (await tally(filter, limit)).groups,
    letter,
    async count(filter) {
      const { sql, values } = conditionOf(filter)
      const { rows } = await ask(`select count(*)::int as n from ${table} d where ${live} and ${sql}`, [...values])
      return numberField(rows[0], 'n')
    },
  }
}

function stateCondition(states: ListOptions['states']): string {
  if (states === undefined) return live
  const bad = states.find((state) => !letterStates.includes(state))
  if (bad !== undefined || states.length === 0)
    throw badOption('list', 'states', `some of ${letterStates.join(', ')}`, bad ?? states)
  // One state is an equality, which the order of an index can follow.
  const [only] = states
  return states.length === 1 ? `d.state = '${String(only)}'` : `d.state in ('${states.join(`', '`)}')`
}

function cursorFrom(before: string | undefined): { readonly us: string; readonly id: string } | undefined {
  if (before === undefined) return undefined
  const found = /^(-?\d{1,17})\.(\d{1,18})$/.exec(before)
  if (found === null) throw badOption('list', 'before', 'the `next` of a page', before)
  return { us: found[1] ?? '', id: found[2] ?? '' }
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
