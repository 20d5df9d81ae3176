import { isFailureReason } from '../core/errors.ts'
import type { LetterFilter } from '../dead-letter/store.ts'
import type { Flags, Context } from './command.ts'
import { usage } from './exit.ts'
import { printable } from './terminal.ts'

export const filterFlags: Flags = {
  pipeline: { type: 'string', help: 'the pipeline that gave it up' },
  group: { type: 'string', help: 'a group of `dlq groups`' },
  key: { type: 'string', help: 'the key of the message' },
  id: { type: 'string', help: 'the id of the message' },
  reason: { type: 'string', help: 'permanent, attempts, undecodable, conflict, crashed or unhandled' },
  trace: { type: 'string', help: 'the id of a trace' },
  subject: { type: 'string', help: 'whom it is about' },
  text: { type: 'string', help: 'anywhere in the error; slow without --since' },
  since: { type: 'string', help: 'died later than 90s, 15m, 2h, 3d ago, or than a date' },
  until: { type: 'string', help: 'died earlier than that' },
  where: { type: 'string', multiple: true, help: 'name=value, with one of the names above' },
}

const names = Object.keys(filterFlags).filter((name) => name !== 'where')

/** The letters that flags and numbers name; `undefined` where nothing is named. */
export function filterFrom({ values, args }: Context): LetterFilter | undefined {
  const given: Record<string, string> = {}
  for (const name of names) if (typeof values[name] === 'string') given[name] = values[name]
  const where = values['where']
  for (const pair of Array.isArray(where) ? (where as readonly string[]) : []) {
    const [name = '', ...value] = pair.split('=')
    if (!names.includes(name) || value.length === 0)
      throw usage(`--where takes name=value with one of ${names.join(', ')}, got '${printable(pair)}'`)
    given[name] = value.join('=')
  }
  const empty = Object.keys(given).find((name) => given[name] === '' && name !== 'key')
  if (empty !== undefined) throw usage(`--${empty} must not be empty`)
  const bad = args.find((arg) => !/^\d{1,18}$/.test(arg))
  if (bad !== undefined) throw usage(`a letter is a number, got '${printable(bad)}'`)
  const { pipeline, group, key, id, reason, trace, subject, text, since, until } = given
  if (reason !== undefined && !isFailureReason(reason))
    throw usage(`--reason: ${filterFlags['reason']?.help ?? ''}; got '${printable(reason)}'`)
  const filter: LetterFilter = {
    ...(args.length > 0 && { ids: args }),
    ...(pipeline !== undefined && { pipeline }),
    ...(group !== undefined && { group }),
    ...(key !== undefined && { key }),
    ...(id !== undefined && { messageId: id }),
    ...(reason !== undefined && { reason }),
    ...(trace !== undefined && { traceId: trace }),
    ...(subject !== undefined && { subject }),
    ...(text !== undefined && { text }),
    ...(since !== undefined && { sinceMs: timeFrom('since', since) }),
    ...(until !== undefined && { untilMs: timeFrom('until', until) }),
  }
  return Object.keys(filter).length === 0 ? undefined : filter
}

const units: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

export function timeFrom(flag: string, text: string): number {
  const ago = /^(\d{1,6})([smhd])$/.exec(text)
  if (ago !== null) return Date.now() - Number(ago[1]) * (units[ago[2] ?? ''] ?? 0)
  const at = Date.parse(text)
  if (Number.isNaN(at)) throw usage(`--${flag} must be like 90s, 15m, 2h, 3d, or a date; got '${printable(text)}'`)
  return at
}

export function numberFlag(
  context: Context,
  name: string,
  least: number,
  most: number,
  whole = true,
): number | undefined {
  const text = context.values[name]
  if (typeof text !== 'string') return undefined
  const value = Number(text)
  if (text.trim() === '' || !(value >= least && value <= most) || (whole && !Number.isInteger(value)))
    throw usage(
      `--${name} must be ${whole ? 'an integer' : 'a number'} from ${least} to ${most}, got '${printable(text)}'`,
    )
  return value
}
