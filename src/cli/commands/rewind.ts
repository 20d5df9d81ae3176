import { textOf } from '../../core/errors.ts'
import type { Command, Context, RewindReport, RewindRequest } from '../command.ts'
import { confirm, yesFlag } from '../confirm.ts'
import { exits, usage } from '../exit.ts'
import { timeFrom } from '../filters.ts'
import { print, say } from '../print.ts'
import { refusals } from '../refusals.ts'
import { printable } from '../terminal.ts'

const rewind: Command = {
  name: 'rewind',
  summary: 'moves a group back, so that its messages come again; the config file says how (`replays`)',
  takes: '<group>',
  flags: {
    from: {
      type: 'string',
      help: 'messages since 90s, 15m, 2h, 3d ago, or since a date; or positions: orders/0=120,orders/1=7',
    },
    to: { type: 'string', help: 'the end of the replay, in the same forms; else where the group stands' },
    scope: {
      type: 'string',
      help: '`same`: what is remembered is not handled again; else the name of a scope, in which all is',
    },
    'dry-run': { type: 'boolean', help: 'counts and checks, and moves nothing' },
    'run-again': { type: 'boolean', help: 'also past the oldest remembered key: those messages are handled again' },
    yes: yesFlag,
  },
  example: 'holdfast rewind billing --from 2h --scope same --dry-run',
  offline: 'if-none',
  async run(context) {
    const { values, config, args } = context
    const [group] = args
    const groups = Object.keys(config.replays ?? {})
    const move =
      group === undefined || !Object.hasOwn(config.replays ?? {}, group) ? undefined : config.replays?.[group]
    if (move === undefined)
      throw usage(
        groups.length === 0
          ? 'rewind needs `replays` in the config file: a function for each group, such as (request) => kafkajsReplay({ …, ...request })'
          : `rewind takes one of ${groups.map(printable).join(', ')}`,
      )
    const request = requestFrom(context)
    const counted = await refusals(move({ ...request, dryRun: true }))
    show(context, counted)
    if (values['dry-run'] === true || counted.messages === 0) return exits.ok
    await confirm(context, 'rewind', counted.messages, 'messages')
    const { plan } = await logged(context, group ?? '', request, counted, () =>
      refusals(move({ ...request, dryRun: false })),
    )
    say(context, `moved. Start its members with this option \`replay\`:\n${printable(JSON.stringify(plan))}`, {
      moved: true,
      plan,
    })
    return exits.ok
  },
}

/** Written before anything moves: no group is moved that the log does not know. */
async function logged<T>(
  context: Context,
  group: string,
  { scope }: RewindRequest,
  { messages, partitions }: RewindReport,
  move: () => Promise<T>,
): Promise<T> {
  const { by, ops, isConnected } = context
  if (!isConnected) {
    context.around.err('holdfast: no database is configured, so the operator log does not show this\n')
    return move()
  }
  const { letters } = ops.store
  const positions = Object.fromEntries(partitions.map(({ name, from, to, stood }) => [name, { from, to, stood }]))
  const what = { group, scope: scope === 'same' ? null : scope.own, messages, positions }
  await letters.note({ by, act: 'rewind', detail: what })
  try {
    return await move()
  } catch (error) {
    const failed = { group, because: textOf(error).errorMessage }
    await letters.note({ by, act: 'rewind failed', detail: failed }).catch(() => {})
    throw error
  }
}

function requestFrom({ values }: Context): RewindRequest {
  const { from, to, scope } = values
  if (typeof from !== 'string') throw usage('rewind needs --from: a time, or positions')
  if (typeof scope !== 'string' || scope === '')
    throw usage('rewind needs --scope: `same` skips what is remembered, any other name handles all of it again')
  return {
    from: pointFrom('from', from),
    ...(typeof to === 'string' && { to: pointFrom('to', to) }),
    scope: scope === 'same' ? scope : { own: scope },
    runAgain: values['run-again'] === true,
  }
}

function pointFrom(flag: string, text: string): Date | Readonly<Record<string, number>> {
  if (!text.includes('=')) return new Date(timeFrom(flag, text))
  const positions = text.split(',').map((each) => {
    const [, name = '', position = ''] = /^(.+)=(\d{1,16})$/.exec(each) ?? []
    if (name === '') throw usage(`--${flag} takes positions like orders/0=120, got '${printable(each)}'`)
    return [name, Number(position)] as const
  })
  return Object.fromEntries(positions)
}

function show(context: Context, report: RewindReport): void {
  const { members, warnings, partitions, messages, replayed, remembered = 0 } = report
  print(context, partitions, [
    ['partition', ({ name }) => printable(name)],
    ['from', ({ from }) => from],
    ['to', ({ to }) => to],
    ['stood', ({ stood }) => stood],
    ['messages', ({ messages: each }) => each],
  ])
  if (context.json) return
  for (const member of members) context.around.out(`running  ${printable(member)}\n`)
  for (const warning of warnings) context.around.out(`note     ${printable(warning)}\n`)
  context.around.out(`${messages} messages come again, ${replayed} of them in the replay\n`)
  context.around.out(`${remembered} of them are young enough for their keys to be remembered\n`)
}

export const rewindCommands: readonly Command[] = [rewind]
