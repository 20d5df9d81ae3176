import type { LetterFilter } from '../../../dead-letter/store.ts'
import type { Context, Flag } from '../../command.ts'
import { usage } from '../../exit.ts'
import { filterFrom } from '../../filters.ts'

export const all: Flag = { type: 'boolean', help: 'every letter that is dead' }

export const letterStates = ['dead', 'redriving', 'resolved', 'replaced', 'dropped'] as const

/** The letters that a command acts on. Nothing acts on all letters because a filter was forgotten. */
export function selected(context: Context, name: string): LetterFilter {
  const filter = filterFrom(context) ?? (context.values['all'] === true ? {} : undefined)
  if (filter === undefined) throw usage(`${name}: say which letters: numbers, filters, or --all`)
  return filter
}

export function oneLetter({ args }: Context): string {
  const [id] = args
  if (args.length !== 1 || id === undefined || !/^\d{1,18}$/.test(id)) throw usage('give the number of one letter')
  return id
}
