import { setTimeout as wait } from 'node:timers/promises'
import type { Command, Context, PromotionLook } from '../command.ts'
import { exits, Stop, usage } from '../exit.ts'
import { print, say } from '../print.ts'
import { refusals } from '../refusals.ts'
import { printable } from '../terminal.ts'

const everyMs = 1000

const promote: Command = {
  name: 'replay promote',
  summary:
    'says, step by step, how a second pipeline takes the place of the first; the config file says which (`promotions`)',
  takes: '<group>',
  flags: {
    wait: { type: 'boolean', help: 'looks again every second, until the second one may start' },
    drained: { type: 'boolean', help: 'the first one was stopped in good order: no member of it was killed' },
  },
  example: 'holdfast replay promote orders --wait --drained',
  offline: true,
  async run(context) {
    const look = lookFor(context)
    let told = ''
    for (;;) {
      const found = await refusals(look())
      if (found.step === 'start-second') return start(context, found)
      const say = sentence(found)
      // Each step once: the positions go on.
      if (say !== told) context.around.err(`${say}\n`)
      told = say
      if (context.values['wait'] !== true) {
        show(context, found)
        return exits.refused
      }
      await wait(everyMs, undefined, { signal: context.around.signal }).catch(() => {
        throw new Stop(exits.refused, 'stopped before the second one may start')
      })
    }
  },
}

function lookFor({ config, args }: Context): () => Promise<PromotionLook> {
  const [group] = args
  const all = config.promotions ?? {}
  const look = group !== undefined && Object.hasOwn(all, group) ? all[group] : undefined
  if (look !== undefined) return look
  const groups = Object.keys(all)
  throw usage(
    groups.length === 0
      ? 'replay promote needs `promotions` in the config file: a function for each first group, such as () => kafkajsPromotion({ … })'
      : `replay promote takes one of ${groups.map(printable).join(', ')}`,
  )
}

/** Both are stopped, and the first one is nowhere behind. */
function start(context: Context, found: PromotionLook): number {
  const { first, second, until = {} } = found
  // What was killed may have done more than it committed: nobody can see that in the positions.
  if (context.values['drained'] !== true)
    throw new Stop(
      exits.refused,
      `both are stopped. Was a member of '${printable(first)}' killed? Start it again, and stop it in good order: it may have done more than it committed. If none was, give --drained`,
    )
  const texts = Object.fromEntries(Object.entries(until).map(([name, end]) => [name, String(end)]))
  show(context, found)
  say(
    context,
    `start '${printable(second)}' with replay({ until: ${printable(JSON.stringify(texts))} }), and leave '${printable(first)}' stopped`,
    { step: found.step, until: texts },
  )
  return exits.ok
}

function sentence({ step, first, second, members = [], partitions }: PromotionLook): string {
  const who = members.map(printable).join(', ')
  if (step === 'stop-second')
    return `stop '${printable(second)}': it finishes what runs, and commits. It runs as ${who}`
  if (step === 'stop-first') return `stop '${printable(first)}' in good order. It runs as ${who}`
  const behind = partitions.filter((each) => each.first < each.second).map(({ name }) => printable(name))
  const runs = who === '' ? 'start it again' : 'let it run'
  return `'${printable(first)}' is behind '${printable(second)}' in ${behind.join(', ')}: ${runs}`
}

function show(context: Context, { partitions }: PromotionLook): void {
  if (context.json) return
  print(context, partitions, [
    ['partition', ({ name }) => printable(name)],
    ['first', ({ first }) => first],
    ['second', ({ second }) => second],
  ])
}

export const promoteCommands: readonly Command[] = [promote]
