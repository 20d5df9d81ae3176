import type { Command, Context } from '../command.ts'
import { confirm, yesFlag } from '../confirm.ts'
import { exits, Stop, usage } from '../exit.ts'
import { numberFlag } from '../filters.ts'
import { print, say, watching } from '../print.ts'
import { duration, instant } from '../terminal.ts'

const status: Command = {
  name: 'outbox status',
  summary: 'says how much waits, how old it is, and which shards no relay holds',
  flags: { watch: { type: 'boolean', help: 'again every two seconds' } },
  example: 'holdfast outbox status --watch',
  run: (context) =>
    watching(context, async () => {
      const found = await context.ops.store.outbox()
      if (found === undefined) throw new Stop(exits.schema, 'this schema has no outbox: run holdfast migrate apply')
      const { pending, pendingLimit, oldestAgeMs, delayed, dead, shards } = found
      const unheld = shards.filter(({ held }) => !held).length
      const parts = [
        `${pending}${pending >= pendingLimit ? ' or more' : ''} to publish`,
        ...(oldestAgeMs === null ? [] : [`the oldest for ${duration(oldestAgeMs)}`]),
        `${delayed} delayed`,
        `${dead} refused for good`,
        `${unheld} of ${shards.length} shards without a relay`,
      ]
      say(context, parts.join(', '), { ...found, unheld })
      return unheld > 0 || dead > 0 ? exits.findings : exits.ok
    }),
}

const dead: Command = {
  name: 'outbox dead',
  summary: 'lists messages that the broker refused for good, oldest first',
  flags: {
    limit: { type: 'string', help: 'how many at most, 50 unless told' },
    after: { type: 'string', help: 'the position of the last one seen' },
  },
  example: 'holdfast outbox dead',
  async run(context) {
    const after = context.values['after']
    const rows = await context.ops.store.outboxDead({
      limit: numberFlag(context, 'limit', 1, 10_000) ?? 50,
      ...(typeof after === 'string' && { after: positionOf(after) }),
    })
    print(context, rows, [
      ['position', ({ position }) => position],
      ['refused', ({ diedMs }) => instant(diedMs)],
      ['destination', ({ destination }) => destination],
      ['message', ({ messageId }) => messageId],
      ['key', ({ key }) => key],
      ['error', ({ error }) => error],
    ])
    return exits.ok
  },
}

function act(name: 'replay' | 'skip', summary: string): Command {
  return {
    name: `outbox ${name}`,
    acts: true,
    summary,
    flags: { yes: yesFlag },
    takes: '<position…>',
    example: `holdfast outbox ${name} 42`,
    async run(context) {
      const positions = positionsOf(context)
      await confirm(context, `outbox ${name}`, positions.length, 'messages')
      const { store } = context.ops
      const done = await (name === 'replay'
        ? store.outboxReplay(positions, context.by)
        : store.outboxSkip(positions, context.by))
      say(
        context,
        `${done} of ${positions.length} messages ${name === 'replay' ? 'are in the outbox again' : 'are forgotten'}`,
        {
          asked: positions.length,
          done,
        },
      )
      return done < positions.length ? exits.partly : exits.ok
    },
  }
}

function positionsOf({ args }: Context): readonly string[] {
  if (args.length === 0) throw usage('give positions from outbox dead')
  return args.map(positionOf)
}

function positionOf(text: string): string {
  if (!/^\d{1,18}$/.test(text)) throw usage('a position is a number from outbox dead')
  return text
}

export const outboxCommands: readonly Command[] = [
  status,
  dead,
  act('replay', 'publishes refused messages again, behind what their keys have sent since'),
  act('skip', 'forgets refused messages'),
]
