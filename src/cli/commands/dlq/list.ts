import type { Command, Context } from '../../command.ts'
import { exits, usage } from '../../exit.ts'
import { filterFlags, filterFrom, numberFlag } from '../../filters.ts'
import { print, watching } from '../../print.ts'
import { instant, printable } from '../../terminal.ts'
import { letterStates } from './selection.ts'

const limit = { type: 'string', help: 'how many at most, 50 unless told' } as const

export const ls: Command = {
  name: 'dlq ls',
  summary: 'lists dead letters, newest first',
  flags: {
    ...filterFlags,
    limit,
    before: { type: 'string', help: 'the `next` that the page before told' },
    state: {
      type: 'string',
      multiple: true,
      help: `one of ${letterStates.join(', ')}; dead and redriving unless told`,
    },
    watch: { type: 'boolean', help: 'again every two seconds' },
  },
  takes: '[letter…]',
  example: 'holdfast dlq ls --pipeline billing --since 2h',
  run: (context) =>
    watching(context, async () => {
      const before = context.values['before']
      const wanted = statesFrom(context)
      const page = await context.ops.store.letters.list(filterFrom(context) ?? {}, {
        limit: numberFlag(context, 'limit', 1, 10_000) ?? 50,
        ...(typeof before === 'string' && { before }),
        ...(wanted.length > 0 && { states: wanted }),
      })
      print(context, page.letters, [
        ['letter', ({ id }) => id],
        ['died', ({ deadMs }) => instant(deadMs)],
        ['state', ({ state }) => state],
        ['pipeline', ({ pipeline }) => pipeline],
        ['message', ({ messageId }) => messageId],
        ['key', ({ key }) => key],
        ['deaths', ({ deaths }) => deaths],
        ['error', ({ errorName, errorMessage }) => `${errorName}: ${errorMessage}`],
      ])
      if (page.next !== null && !context.json) context.around.out(`more: --before ${page.next}\n`)
      return exits.ok
    }),
}

function statesFrom({ values }: Context) {
  const given = values['state']
  const named = Array.isArray(given) ? (given as readonly string[]) : []
  return named.map((name) => {
    const state = letterStates.find((each) => each === name)
    if (state === undefined) throw usage(`--state is one of ${letterStates.join(', ')}, got '${printable(name)}'`)
    return state
  })
}

export const groups: Command = {
  name: 'dlq groups',
  summary: 'counts dead letters by the shape of their error',
  flags: { ...filterFlags, limit, watch: { type: 'boolean', help: 'again every two seconds' } },
  example: 'holdfast dlq groups',
  run: (context) =>
    watching(context, async () => {
      const found = await context.ops.store.letters.groups(
        filterFrom(context) ?? {},
        numberFlag(context, 'limit', 1, 1000) ?? 50,
      )
      print(context, found, [
        ['letters', ({ letters }) => letters],
        ['group', ({ group }) => group],
        ['pipeline', ({ pipeline }) => pipeline],
        ['last', ({ lastMs }) => instant(lastMs)],
        ['error', ({ errorName, shape }) => `${errorName}: ${shape}`],
      ])
      return exits.ok
    }),
}

export const log: Command = {
  name: 'dlq log',
  summary: 'lists what operators did, newest first',
  flags: { limit },
  example: 'holdfast dlq log --limit 20',
  async run(context) {
    const acts = await context.ops.store.letters.log({ limit: numberFlag(context, 'limit', 1, 10_000) ?? 50 })
    print(context, acts, [
      ['at', ({ atMs }) => instant(atMs)],
      ['by', ({ by }) => by],
      ['act', ({ act }) => act],
      ['letter', ({ letter }) => letter],
      ['redrive', ({ redrive: id }) => id],
      ['detail', ({ detail }) => (detail === null ? null : JSON.stringify(detail))],
    ])
    return exits.ok
  },
}
