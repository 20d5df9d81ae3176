import type { ClaimRecord } from '../../operations/index.ts'
import type { Command, Context, Flag } from '../command.ts'
import { confirm, yesFlag } from '../confirm.ts'
import { exits, Stop, usage } from '../exit.ts'
import { numberFlag } from '../filters.ts'
import { print, say, type Column } from '../print.ts'
import { instant } from '../terminal.ts'

const scope: Flag = {
  type: 'string',
  help: 'the scope of the key: the name of its pipeline, unless it was told otherwise',
}

const columns: readonly Column<ClaimRecord>[] = [
  ['scope', (claim) => claim.scope],
  ['key', ({ key }) => key],
  ['state', ({ state }) => state],
  ['attempts', ({ attempts }) => attempts],
  ['lease until', ({ leaseMs }) => instant(leaseMs)],
  ['remembered until', ({ retainedMs }) => instant(retainedMs)],
  ['error', ({ failure }) => (failure === null ? '' : `${failure.errorName}: ${failure.errorMessage}`)],
]

const ls: Command = {
  name: 'keys ls',
  summary: 'lists keys whose holder is gone: their lease has ended, and nobody took them over',
  flags: {
    scope,
    'stale-ms': { type: 'string', help: 'whose lease ended so long ago, 60000 unless told; 0 shows held keys too' },
    limit: { type: 'string', help: 'how many at most, 50 unless told' },
  },
  example: 'holdfast keys ls --scope billing',
  async run(context) {
    const { values, ops } = context
    const keys = await ops.store.keys({
      staleMs: numberFlag(context, 'stale-ms', 0, 1e12) ?? 60_000,
      limit: numberFlag(context, 'limit', 1, 10_000) ?? 50,
      ...(typeof values['scope'] === 'string' && { scope: values['scope'] }),
    })
    print(context, keys, columns)
    return exits.ok
  },
}

const unblock: Command = {
  name: 'keys unblock',
  summary: 'gives a key back, so that the next delivery can claim it',
  flags: {
    scope,
    force: { type: 'boolean', help: 'also a key that is held: its holder then completes nothing' },
    yes: yesFlag,
  },
  takes: '<key>',
  example: 'holdfast keys unblock order-7 --scope billing',
  async run(context) {
    const [of, key] = scoped(context)
    const force = context.values['force'] === true
    if (force) await confirm(context, 'keys unblock --force', 1, 'key that may be held')
    const answer = await context.ops.store.unblock(of, key, context.by, { force })
    if (answer === 'held')
      throw new Stop(exits.refused, 'the key is held, and its lease has not ended: wait, or use --force')
    if (answer === 'none') throw new Stop(exits.refused, 'the key is not in progress')
    say(context, 'the key can be claimed again', { scope: of, key, answer })
    return exits.ok
  },
}

const show: Command = {
  name: 'idempotency show',
  summary: 'shows what is remembered of a key, in one scope or in all',
  flags: { scope },
  takes: '<key>',
  example: 'holdfast idempotency show order-7',
  async run(context) {
    const given = context.values['scope']
    print(
      context,
      await context.ops.store.claims(oneKey(context), typeof given === 'string' ? given : undefined),
      columns,
    )
    return exits.ok
  },
}

const forget: Command = {
  name: 'idempotency forget',
  summary: 'forgets a key: a message of it may run again, also one that was completed',
  flags: { scope, yes: yesFlag },
  takes: '<key>',
  example: 'holdfast idempotency forget order-7 --scope billing',
  async run(context) {
    const [of, key] = scoped(context)
    await confirm(context, 'idempotency forget', 1, 'key, whose message may then run twice')
    if (!(await context.ops.store.forget(of, key, context.by)))
      throw new Stop(exits.refused, 'the key is not known in that scope, or it is in progress')
    say(context, 'the key is forgotten', { scope: of, key })
    return exits.ok
  },
}

function oneKey({ args }: Context): string {
  const [key] = args
  if (args.length !== 1 || key === undefined) throw usage('give one key')
  return key
}

function scoped(context: Context): readonly [scope: string, key: string] {
  const given = context.values['scope']
  if (typeof given !== 'string') throw usage('give --scope: the name of the pipeline, unless it was told otherwise')
  return [given, oneKey(context)]
}

export const keyCommands: readonly Command[] = [ls, unblock, show, forget]
