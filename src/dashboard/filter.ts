import { failureReasons, isFailureReason } from '../core/errors.ts'
import { nearest } from '../core/nearest.ts'
import type { LetterFilter, LetterState } from '../dead-letter/store.ts'
import type { Params } from './visit.ts'

/** The names of a filter in an address, and what they are called on the page. */
export const filterNames = {
  ids: 'Letters',
  group: 'Group',
  pipeline: 'Pipeline',
  key: 'Key',
  id: 'Message id',
  reason: 'Reason',
  trace: 'Trace',
  subject: 'Subject',
  text: 'Text of the error',
  since: 'Died since',
  until: 'Died before',
} as const
export type FilterName = keyof typeof filterNames

export const letterStates: readonly LetterState[] = ['dead', 'redriving', 'resolved', 'replaced', 'dropped']
export const reasons: readonly string[] = failureReasons

export interface Asked {
  readonly filter: LetterFilter
  /** The filter as it stands in an address, times made absolute. */
  readonly query: Params
  readonly isEmpty: boolean
  /** What cannot be asked, in sentences. Nothing is shown or done then: a filter that is left out matches more. */
  readonly problems: readonly string[]
}

const units: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const known = Object.keys(filterNames) as readonly FilterName[]

export function filterFrom(
  given: Iterable<readonly [string, string]>,
  others: readonly string[],
  nowMs: number,
): Asked {
  const problems: string[] = []
  const query: Partial<Record<FilterName, string>> = {}
  for (const [name, value] of given) {
    const own = known.find((each) => each === name)
    if (own === undefined) {
      if (!others.includes(name)) problems.push(unknownName(name))
    } else if (value !== '') query[own] = own === 'ids' && query.ids !== undefined ? `${query.ids},${value}` : value
  }
  const { ids, group, pipeline, key, id, reason, trace, subject, text } = query
  const letters = ids?.split(/[\s,]+/).filter((each) => each !== '')
  if (letters?.some((each) => !/^\d{1,18}$/.test(each)) === true) problems.push('A letter is a number.')
  if (reason !== undefined && !isFailureReason(reason)) problems.push(`A reason is one of ${reasons.join(', ')}.`)
  const since = timeFrom('Died since', query.since, nowMs, problems)
  const until = timeFrom('Died before', query.until, nowMs, problems)
  const filter: LetterFilter = {
    ...(letters !== undefined && { ids: letters }),
    ...(group !== undefined && { group }),
    ...(pipeline !== undefined && { pipeline }),
    ...(key !== undefined && { key }),
    ...(id !== undefined && { messageId: id }),
    ...(reason !== undefined && isFailureReason(reason) && { reason }),
    ...(trace !== undefined && { traceId: trace }),
    ...(subject !== undefined && { subject }),
    ...(text !== undefined && { text }),
    ...(since !== undefined && { sinceMs: since }),
    ...(until !== undefined && { untilMs: until }),
  }
  return {
    filter,
    query: {
      ...query,
      ...(since !== undefined && { since: new Date(since).toISOString() }),
      ...(until !== undefined && { until: new Date(until).toISOString() }),
    },
    isEmpty: Object.keys(filter).length === 0,
    problems,
  }
}

function unknownName(name: string): string {
  const near = nearest(name, known)
  return `There is no filter '${name.slice(0, 60)}'${near === undefined ? '.' : `; did you mean '${near}'?`}`
}

function timeFrom(label: string, text: string | undefined, nowMs: number, problems: string[]): number | undefined {
  if (text === undefined) return undefined
  const ago = /^(\d{1,6})([smhd])$/.exec(text.trim())
  const at = ago === null ? Date.parse(text) : nowMs - Number(ago[1]) * (units[ago[2] ?? ''] ?? 0)
  if (Math.abs(at) <= 8.64e15) return at
  problems.push(`${label}: write 90s, 15m, 2h, 3d, or a date such as 2026-11-27T18:00:00Z.`)
  return undefined
}

/** The filter that a form carries from its preview to its act: what was looked at is what is acted on. */
export function filterFromQuery(value: unknown, nowMs: number): Asked | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const pairs = Object.entries(value).flatMap(([name, each]) =>
    typeof each === 'string' ? [[name, each] as const] : [],
  )
  return pairs.length === Object.keys(value).length ? filterFrom(pairs, [], nowMs) : undefined
}
