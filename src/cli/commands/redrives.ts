import type { Redrive, RedriveState } from '../../dead-letter/store.ts'
import type { Command, Context } from '../command.ts'
import { exits, Stop, usage } from '../exit.ts'
import { numberFlag } from '../filters.ts'
import { print, say, watching } from '../print.ts'
import { instant } from '../terminal.ts'

const resultsOf = ({ results, open }: Redrive): string =>
  [...Object.entries(results).map(([name, n]) => `${n} ${name}`), ...(open > 0 ? [`${open} open`] : [])].join(', ')

const ls: Command = {
  name: 'redrive ls',
  summary: 'lists redrives, newest first',
  flags: { limit: { type: 'string', help: 'how many at most, 20 unless told' } },
  example: 'holdfast redrive ls',
  async run(context) {
    const redrives = await context.ops.store.letters.redrives({ limit: numberFlag(context, 'limit', 1, 1000) ?? 20 })
    print(context, redrives, [
      ['redrive', ({ id }) => id],
      ['state', ({ state }) => state],
      ['letters', ({ total }) => total],
      ['results', resultsOf],
      ['route', ({ route }) => route],
      ['rate', ({ perSecond }) => (perSecond === null ? '' : `${perSecond}/s`)],
      ['by', ({ by }) => by],
      ['made', ({ createdMs }) => instant(createdMs)],
    ])
    return exits.ok
  },
}

const show: Command = {
  name: 'redrive show',
  summary: 'shows how far a redrive is, and how its letters ended',
  flags: {
    watch: { type: 'boolean', help: 'again every two seconds' },
    items: { type: 'boolean', help: 'with the result of each letter' },
  },
  takes: '<redrive>',
  example: 'holdfast redrive show 3 --watch',
  run: (context) =>
    watching(context, async () => {
      const id = oneRedrive(context)
      const { letters } = context.ops.store
      const redrive = await letters.redrive(id)
      if (redrive === undefined) throw noRedrive(id)
      const done = redrive.total - redrive.open
      const bar = '#'.repeat(redrive.total === 0 ? 0 : Math.floor((done / redrive.total) * 20)).padEnd(20, '.')
      const pausedByCanary = redrive.state === 'paused' && redrive.canary !== null && done === redrive.canary
      const hint = pausedByCanary ? `\nthe canary is over: holdfast redrive resume ${id}, or cancel ${id}` : ''
      say(
        context,
        `redrive ${id} ${redrive.state} [${bar}] ${done} of ${redrive.total}: ${resultsOf(redrive)}${hint}`,
        redrive,
      )
      if (context.values['items'] === true)
        print(context, await letters.redriveItems(id, { limit: 10_000 }), [
          ['letter', ({ letter }) => letter],
          ['result', ({ result }) => result ?? 'open'],
        ])
      return exits.ok
    }),
}

function change(name: 'pause' | 'resume' | 'cancel', summary: string, wanted: RedriveState): Command {
  return {
    name: `redrive ${name}`,
    acts: true,
    summary,
    flags: {},
    takes: '<redrive>',
    example: `holdfast redrive ${name} 3`,
    async run(context) {
      const id = oneRedrive(context)
      const state = await context.ops.store.letters[name](id, context.by)
      if (state === undefined) throw noRedrive(id)
      if (state !== wanted) throw new Stop(exits.refused, `redrive ${id} is ${state}`)
      say(context, `redrive ${id} is ${state}`, { redrive: id, state })
      return exits.ok
    },
  }
}

function oneRedrive({ args }: Context): string {
  const [id] = args
  if (args.length !== 1 || id === undefined || !/^\d{1,18}$/.test(id)) throw usage('give the number of one redrive')
  return id
}

function noRedrive(id: string): Stop {
  return new Stop(exits.refused, `there is no redrive ${id}`)
}

export const redriveCommands: readonly Command[] = [
  ls,
  show,
  change('pause', 'stops beginning letters; those under way end', 'paused'),
  change('resume', 'goes on, beyond the canary too', 'running'),
  change('cancel', 'ends it: what was not begun stays dead', 'cancelled'),
]
