import type { RedriveOptions, RedrivePreview } from '../../../dead-letter/store.ts'
import type { Command } from '../../command.ts'
import { confirm, yesFlag } from '../../confirm.ts'
import { exits, Stop, usage } from '../../exit.ts'
import { filterFlags, numberFlag } from '../../filters.ts'
import { say } from '../../print.ts'
import { printable } from '../../terminal.ts'
import { all, selected } from './selection.ts'

export const redrive: Command = {
  name: 'dlq redrive',
  acts: true,
  summary: 'makes a redrive of letters; the workers in your services run it',
  flags: {
    ...filterFlags,
    all,
    'dry-run': { type: 'boolean', help: 'says what would happen, and does nothing' },
    'look-at': { type: 'string', help: 'so many letters are looked at one by one before, 5000 unless told' },
    rate: { type: 'string', help: 'letters a second, of all workers together' },
    canary: { type: 'string', help: 'so many letters first, then it pauses' },
    route: {
      type: 'string',
      help: 'pipeline, or destination: publishes to the origin, where other groups handle it twice',
    },
    'max-redrives': { type: 'string', help: 'leaves letters alone that were redriven so often, 3 unless told' },
    yes: yesFlag,
  },
  takes: '[letter…]',
  example: 'holdfast dlq redrive --group 1-0a1b2c3d4e5f6071 --rate 10 --canary 5',
  async run(context) {
    const filter = selected(context, 'dlq redrive')
    const route = context.values['route']
    if (route !== undefined && route !== 'pipeline' && route !== 'destination')
      throw usage(`--route is pipeline or destination, got '${printable(String(route))}'`)
    const perSecond = numberFlag(context, 'rate', 0.001, 1_000_000, false)
    const canary = numberFlag(context, 'canary', 1, 1_000_000)
    const maxRedrives = numberFlag(context, 'max-redrives', 1, 1000)
    const options: RedriveOptions = {
      ...(route !== undefined && { route }),
      ...(perSecond !== undefined && { perSecond }),
      ...(canary !== undefined && { canary }),
      ...(maxRedrives !== undefined && { maxRedrives }),
    }
    const { letters } = context.ops.store
    const most = numberFlag(context, 'look-at', 1, 10_000_000)
    const preview = await letters.preview(filter, options, most === undefined ? {} : { most })
    const told = textOf(preview)
    if (context.values['dry-run'] === true) {
      say(context, told, preview)
      return exits.ok
    }
    if (preview.free === 0) {
      say(context, `${told}: nothing to redrive`, preview)
      return exits.ok
    }
    if (!context.json) context.around.err(`${told}\n`)
    await confirm(context, 'dlq redrive', preview.free, 'letters')
    const made = await letters.create(filter, options, context.by)
    if (made === undefined) throw new Stop(exits.refused, 'others took these letters meanwhile: nothing was done')
    say(
      context,
      `redrive ${made.id}: ${made.total} letters. Follow it with: holdfast redrive show ${made.id} --watch`,
      made,
    )
    return made.total < preview.free ? exits.partly : exits.ok
  },
}

function textOf({ matched, taken, conflicts, looked, keys, completed, guarded }: RedrivePreview): string {
  const some = looked < matched
  return [
    `${matched} letters${some ? '' : ` of ${keys} keys`} match`,
    ...(taken > 0 ? [`${taken} are in another redrive`] : []),
    ...(conflicts > 0 ? [`${conflicts} have the key of another content: edit them first`] : []),
    ...(some ? [`of the first ${looked}, of ${keys} keys`] : []),
    ...(completed > 0 ? [`${completed} are completed already and will not run`] : []),
    ...(guarded > 0 ? [`${guarded} were redriven too often and are left to a person`] : []),
  ].join('; ')
}
