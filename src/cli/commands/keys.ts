import type { ClaimRecord, KeysBound, ParkedLane, ParkedMessage } from '../../operations/index.ts'
import type { Command, Context, Flag } from '../command.ts'
import { confirm, yesFlag } from '../confirm.ts'
import { exits, Stop, usage } from '../exit.ts'
import { numberFlag } from '../filters.ts'
import { print, say, type Column } from '../print.ts'
import { instant, printable } from '../terminal.ts'

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

const laneFlag: Flag = { type: 'string', help: 'the lane, where the key is parked for several destinations' }

/** A key that stands still, of either kind. */
interface Standing {
  readonly what: 'parked' | 'blocked' | 'running' | 'stuck'
  readonly scope: string
  readonly key: string
  readonly lane: string | null
  readonly messages: number
  readonly sinceMs: number | null
  readonly nextMs: number | null
  readonly attempts: number
  readonly error: string | null
}

function ofLane({ scope, key, lane, held, messages, sinceMs, nextMs, attempts, error }: ParkedLane): Standing {
  const what = nextMs === null ? 'blocked' : held ? 'running' : 'parked'
  return { what, scope, key, lane, messages, sinceMs, nextMs, attempts, error }
}

/** What was not looked at, of very many keys. */
export function lookedAt({ newest, of }: KeysBound): string {
  const many = (keys: number): string => keys.toLocaleString('en', { maximumSignificantDigits: 3 })
  return `holders that are gone were looked for among the newest ${many(newest)} of about ${many(of)} keys`
}

function ofClaim({ scope, key, leaseMs, attempts }: ClaimRecord): Standing {
  return { what: 'stuck', scope, key, lane: null, messages: 1, sinceMs: leaseMs, nextMs: null, attempts, error: null }
}

const standingColumns: readonly Column<Standing>[] = [
  ['what', ({ what }) => what],
  ['scope', ({ scope }) => scope],
  ['key', ({ key }) => key],
  ['messages', ({ messages }) => messages],
  ['since', ({ sinceMs }) => instant(sinceMs)],
  ['next', ({ nextMs }) => instant(nextMs)],
  ['attempts', ({ attempts }) => attempts],
  ['error', ({ error }) => error],
]

const messageColumns: readonly Column<ParkedMessage>[] = [
  ['claim', ({ claimKey }) => claimKey],
  ['since', ({ sinceMs }) => instant(sinceMs)],
  ['attempts', ({ attempts }) => attempts],
  ['generation', ({ generation }) => generation],
  ['bytes', ({ bytes }) => bytes],
  ['error', ({ error }) => error],
]

/** The parked lane of a key; `undefined` if it is not parked. */
async function laneNamed({ ops, values }: Context, scope: string, key: string): Promise<ParkedLane | undefined> {
  const lanes = (await ops.store.parked?.({ scope, key, limit: 20 })) ?? []
  const given = values['lane']
  const found = typeof given === 'string' ? lanes.filter(({ lane }) => lane === given) : lanes
  if (found.length > 1)
    throw usage(
      `the key is parked for several destinations: give --lane, one of ${found.map(({ lane }) => printable(lane)).join(', ')}`,
    )
  return found[0]
}

const ls: Command = {
  name: 'keys ls',
  summary: 'lists keys that stand still: parked ones, blocked ones, and those whose holder is gone',
  flags: {
    scope,
    'stale-ms': { type: 'string', help: 'whose lease ended so long ago, 60000 unless told; 0 shows held keys too' },
    blocked: { type: 'boolean', help: 'only keys that wait for an operator' },
    limit: { type: 'string', help: 'how many at most of each kind, 50 unless told' },
    'look-at': {
      type: 'string',
      help: 'how many keys to look at for holders that are gone, the newest 2000000 unless told',
    },
  },
  example: 'holdfast keys ls --scope billing',
  async run(context) {
    const { values, ops } = context
    const within = {
      limit: numberFlag(context, 'limit', 1, 10_000) ?? 50,
      ...(typeof values['scope'] === 'string' && { scope: values['scope'] }),
    }
    const blocked = values['blocked'] === true
    const staleMs = numberFlag(context, 'stale-ms', 0, 1e12) ?? 60_000
    const lookAt = numberFlag(context, 'look-at', 1, 1e12)
    const far = lookAt === undefined ? {} : { lookAt }
    const [lanes, claims, bound] = await Promise.all([
      ops.store.parked?.({ ...within, blocked }) ?? [],
      blocked ? [] : ops.store.keys({ ...within, ...far, staleMs }),
      blocked ? undefined : ops.store.keysBound?.(far),
    ])
    print(context, [...lanes.map(ofLane), ...claims.map(ofClaim)], standingColumns)
    if (bound !== undefined) context.around.err(`${lookedAt(bound)}; --look-at looks further\n`)
    return exits.ok
  },
}

const unblock: Command = {
  name: 'keys unblock',
  acts: true,
  summary: 'lets a blocked key go on, or gives back a key whose holder is gone',
  flags: {
    scope,
    lane: laneFlag,
    force: { type: 'boolean', help: 'also a key that is held: its holder then completes nothing' },
    yes: yesFlag,
  },
  takes: '<key>',
  example: 'holdfast keys unblock order-7 --scope billing',
  async run(context) {
    const [of, key] = scoped(context)
    const lane = await laneNamed(context, of, key)
    if (lane !== undefined && lane.nextMs === null) {
      if ((await context.ops.store.unblockLane?.(of, lane.lane, context.by)) !== 'ok')
        throw new Stop(exits.refused, 'the key is not blocked any more: holdfast keys ls shows how it stands')
      say(context, 'its first message runs again, and the others of the key behind it', {
        scope: of,
        key,
        answer: 'ok',
      })
      return exits.ok
    }
    const force = context.values['force'] === true
    if (force) await confirm(context, 'keys unblock --force', 1, 'key that may be held')
    const answer = await context.ops.store.unblock(of, key, context.by, { force })
    if (answer === 'held')
      throw new Stop(exits.refused, 'the key is held, and its lease has not ended: wait, or use --force')
    if (answer === 'none') throw new Stop(exits.refused, 'the key is neither blocked nor in progress')
    say(context, 'the key can be claimed again', { scope: of, key, answer })
    return exits.ok
  },
}

const showParked: Command = {
  name: 'keys show',
  summary: 'shows the messages of a parked key, in their order',
  flags: { scope, lane: laneFlag, limit: { type: 'string', help: 'how many at most, 50 unless told' } },
  takes: '<key>',
  example: 'holdfast keys show customer-7 --scope billing',
  async run(context) {
    const [of, key] = scoped(context)
    const lane = await laneNamed(context, of, key)
    if (lane === undefined) throw new Stop(exits.refused, 'the key is not parked')
    const limit = numberFlag(context, 'limit', 1, 10_000) ?? 50
    print(context, (await context.ops.store.parkedMessages?.(of, lane.lane, limit)) ?? [], messageColumns)
    return exits.ok
  },
}

const drop: Command = {
  name: 'keys drop',
  acts: true,
  summary: 'drops the message that blocks a key, or all parked messages of a key; they are not handled',
  flags: {
    scope,
    lane: laneFlag,
    all: { type: 'boolean', help: 'all parked messages of the key' },
    yes: yesFlag,
  },
  takes: '<key>',
  example: 'holdfast keys drop customer-7 --scope billing',
  async run(context) {
    const [of, key] = scoped(context)
    const lane = await laneNamed(context, of, key)
    if (lane === undefined) throw new Stop(exits.refused, 'the key is not parked')
    const all = context.values['all'] === true
    if (!all && lane.nextMs !== null)
      throw new Stop(
        exits.refused,
        'the key is not blocked: its first message runs again by itself. --all drops them all',
      )
    const many = all ? lane.messages : 1
    await confirm(
      context,
      'keys drop',
      many,
      many === 1 ? 'message that is then not handled' : 'messages that are then not handled',
    )
    const what = all ? 'all' : { claimKey: lane.claimKey }
    const dropped = (await context.ops.store.dropParked?.(of, lane.lane, context.by, what)) ?? 0
    if (dropped === 0) throw new Stop(exits.refused, 'the key has changed, or a worker holds it: look again')
    say(context, `${dropped} dropped, and the key goes on`, { scope: of, key, dropped })
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
  acts: true,
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

export const keyCommands: readonly Command[] = [ls, showParked, unblock, drop, show, forget]
