import { anything, badOption, checkOptions, list, number, text as textKind } from '../../../core/options.ts'
import type { LetterFilter } from '../../../dead-letter/store.ts'
import { storable } from './rows.ts'

/** A condition on `dead_letter d`, and its parameters from `$<first>` on. No text of a caller ever becomes SQL. */
export interface Condition {
  readonly sql: string
  readonly values: readonly unknown[]
}

export function conditionOf(filter: LetterFilter, first = 1): Condition {
  const values: unknown[] = []
  const parts: string[] = []
  const add = (value: unknown, sql: (parameter: string) => string): void => {
    parts.push(sql(`$${first + values.push(value) - 1}`))
  }
  const { ids, pipeline, group, key, messageId, reason, traceId, subject, text, sinceMs, untilMs } = checkOptions(
    'filter',
    filter,
    {
      ids: list,
      pipeline: textKind,
      group: textKind,
      key: anything,
      messageId: textKind,
      reason: textKind,
      traceId: textKind,
      subject: textKind,
      text: textKind,
      sinceMs: number(-8.64e15),
      untilMs: number(-8.64e15),
    },
  )
  if (ids !== undefined) {
    const bad = ids.find((id) => !isLetterId(id))
    if (bad !== undefined) throw badOption('filter', 'ids', 'numbers of letters', bad)
    add(ids, (all) => `d.id = any(${all}::bigint[])`)
  }
  if (pipeline !== undefined) add(storable(pipeline), (one) => `d.pipeline = ${one}`)
  if (group !== undefined) add(storable(group), (one) => `d.fingerprint = ${one}`)
  // The planner takes both conditions for rare, and a key with many letters for one with few; of what coalesce() says it
  // knows nothing.
  const hashed = (column: string) => (one: string) =>
    `(hashtextextended(d.${column}, 0) = hashtextextended(${one}::text collate "C", 0) and coalesce(d.${column} = ${one}, false))`
  if (key !== undefined) add(storable(key), hashed('key'))
  if (messageId !== undefined) add(storable(messageId), hashed('message_id'))
  if (subject !== undefined) add(storable(subject), hashed('subject'))
  if (reason !== undefined) add(reason, (one) => `d.reason = ${one}`)
  if (traceId !== undefined) add(storable(traceId), (one) => `d.trace_id = ${one}`)
  if (text !== undefined)
    add(
      `%${storable(text).replace(/[\\%_]/g, '\\$&')}%`,
      (one) => `(d.error_message ilike ${one} or d.error_name ilike ${one})`,
    )
  const instant = (one: string): string => `('epoch'::timestamptz + ${one}::float8 * interval '1 ms')`
  if (sinceMs !== undefined) add(clamped(sinceMs), (one) => `d.dead_at >= ${instant(one)}`)
  if (untilMs !== undefined) add(clamped(untilMs), (one) => `d.dead_at < ${instant(one)}`)
  return { sql: parts.length === 0 ? 'true' : parts.join(' and '), values }
}

/**
 * Oldest first, in the order of the index that finds such letters: any other order reads all that match, or walks along another
 * index in the hope to meet them soon.
 */
export function orderFor({ group, pipeline, reason }: LetterFilter): string {
  if (group !== undefined) return 'd.fingerprint, d.pipeline, d.dead_at, d.id'
  if (pipeline !== undefined) return 'd.pipeline, d.dead_at, d.id'
  return reason === undefined ? 'd.dead_at, d.id' : 'd.reason, d.dead_at, d.id'
}

export function isLetterId(text: string): boolean {
  return /^\d{1,18}$/.test(text)
}

// PostgreSQL's timestamps end in the year 294276.
function clamped(ms: number): number {
  return Math.min(Math.max(ms, -1e14), 9e15)
}
