import { badOption } from '../../core/options.ts'
import { HoldfastError } from '../../core/errors.ts'
import type { LogState, ReplayLog } from './replay-log.ts'
import type { ReplayPoint } from './options.ts'

/** What of one partition comes again. */
export interface ReplayRange {
  readonly name: string
  /** Where the group goes back to. The same as `stood`: nothing comes again. */
  readonly from: number
  /** The end of the replay itself. */
  readonly to: number
  /** Where the group stood. */
  readonly stood: number
  readonly messages: number
  /** Of those, the ones before `to`. */
  readonly replayed: number
}

/** The ranges of a replay, and what is worth knowing of them. */
export interface Ranges {
  readonly ranges: readonly ReplayRange[]
  readonly warnings: string[]
}

/** @throws HoldfastError for positions that name no partition, or lie ahead of the group. */
export async function rangesOf(log: ReplayLog, from: ReplayPoint, to: ReplayPoint | undefined): Promise<Ranges> {
  const states = await log.states()
  const warnings: string[] = []
  const starts = await pointOf(log, 'from', from, states)
  const ends = to === undefined ? new Map<string, number>() : await pointOf(log, 'to', to, states)
  const ranges: ReplayRange[] = []
  for (const { name, low, stands } of states) {
    if (stands === undefined) {
      if (starts.has(name)) warnings.push(`${name}: the group never began here, so nothing comes again`)
      continue
    }
    const asked = starts.get(name) ?? stands
    if (asked > stands && !(from instanceof Date)) throw ahead(name, asked, stands)
    if (asked < low) warnings.push(`${name}: the log begins at ${low}. What was between ${asked} and ${low} is gone`)
    const start = Math.min(Math.max(asked, low), stands)
    const end = Math.min(Math.max(ends.get(name) ?? stands, start), stands)
    const replayed = await countIn(log, name, start, end)
    const beyond = await countIn(log, name, end, stands)
    ranges.push({ name, from: start, to: end, stood: stands, messages: replayed + beyond, replayed })
  }
  return { ranges, warnings }
}

/** How many messages of a partition stand from one position up to another. */
export async function countIn(log: ReplayLog, name: string, from: number, to: number): Promise<number> {
  if (from >= to) return 0
  return log.count === undefined ? to - from : log.count(name, from, to)
}

async function pointOf(
  log: ReplayLog,
  option: string,
  point: ReplayPoint,
  states: readonly LogState[],
): Promise<ReadonlyMap<string, number>> {
  if (point instanceof Date) {
    if (Number.isNaN(point.getTime())) throw badOption('replay', option, 'a valid date', point)
    return log.positionsAt(point.getTime())
  }
  for (const [name, position] of Object.entries(point)) {
    if (!states.some((each) => each.name === name))
      throw badOption('replay', option, `positions of ${states.map((each) => `'${each.name}'`).join(', ')}`, name)
    if (!Number.isSafeInteger(position) || position < 0)
      throw badOption('replay', `${option}['${name}']`, 'a position: an integer of at least 0', position)
  }
  return new Map(Object.entries(point))
}

function ahead(name: string, asked: number, stands: number): HoldfastError {
  return new HoldfastError(
    'bad-order',
    `replay: ${name} stands at ${stands}. Moving it ahead to ${asked} would skip messages that were never handled`,
  )
}
