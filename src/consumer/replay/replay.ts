import { systemClock } from '../../core/clock.ts'
import { factsOf } from '../../core/describe.ts'
import { HoldfastError } from '../../core/errors.ts'
import { checkOptions } from '../../core/options.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import { Memory } from './memory.ts'
import { ownOf, refused, replayKinds, type ReplayOptions } from './options.ts'
import type { ReplayPlan } from './plan.ts'
import { rangesOf, type ReplayRange } from './ranges.ts'
import type { ReplayLog } from './replay-log.ts'

export interface ReplayReport {
  readonly group: string
  /** False for a dry run. */
  readonly moved: boolean
  /** Who runs in the group. A replay refuses while there is anybody; a dry run tells. */
  readonly members: readonly string[]
  /** Messages that come again. */
  readonly messages: number
  /** Of those, the ones of the replay itself, up to `to`. */
  readonly replayed: number
  /**
   * Of `messages`, the ones that are young enough for their keys to be remembered in the ordinary scope. Those that were
   * completed are duplicates there. In a scope of its own they are handled again.
   */
  readonly remembered: number
  readonly partitions: readonly ReplayRange[]
  readonly warnings: readonly string[]
  /** For the option `replay` of the group's consumers. */
  readonly plan: ReplayPlan
}

/**
 * Moves a group back, so that its messages come again. It refuses a group that runs, a position ahead of the group, and a
 * position before the oldest remembered key where that would handle messages again that nobody asked for.
 * @throws HoldfastError `bad-order` for what it refuses; `unavailable` when the broker did not move the group.
 */
export async function replay(log: ReplayLog, options: ReplayOptions): Promise<ReplayReport> {
  const {
    pipeline,
    from,
    to,
    scope,
    dryRun = false,
    clock = systemClock,
    ...rest
  } = checkOptions('replay', options, replayKinds)
  try {
    const members = await log.members()
    if (members.length > 0 && !dryRun)
      throw refused(`group '${log.group}' runs. Stop its members first: ${members.join(', ')}`)
    const atMs = clock.wall()
    const { ranges, warnings } = await rangesOf(log, from, to)
    const own = ownOf(scope) ?? null
    const memory = new Memory(log, { pipeline, isOwn: own !== null, atMs, ...rest })
    const remembered = await memory.check(ranges)
    warnings.push(...remembered.warnings, ...warningsOn(pipeline, own))
    const moving = ranges.filter(({ from: start, stood }) => start < stood)
    if (!dryRun) await move(log, moving)
    return {
      group: log.group,
      moved: !dryRun,
      members,
      messages: sum(moving.map(({ messages }) => messages)),
      replayed: sum(moving.map(({ replayed }) => replayed)),
      remembered: remembered.messages,
      partitions: ranges,
      warnings,
      plan: {
        group: log.group,
        scope: own,
        atMs,
        partitions: Object.fromEntries(moving.map(({ name, to: end, stood }) => [name, { to: end, stood }])),
      },
    }
  } finally {
    await log.close()
  }
}

async function move(log: ReplayLog, moving: readonly ReplayRange[]): Promise<void> {
  if (moving.length === 0) return
  await log.move(new Map(moving.map(({ name, from }) => [name, from])))
  const states = new Map((await log.states()).map(({ name, stands }) => [name, stands]))
  const missed = moving.filter(({ name, from }) => states.get(name) !== from)
  if (missed.length > 0)
    throw new HoldfastError(
      'unavailable',
      `replay: group '${log.group}' was not moved in ${missed.map(({ name }) => name).join(', ')}. Look whether somebody joined it, and run the replay again`,
    )
}

function warningsOn({ stages }: Pipeline, own: string | null): readonly string[] {
  if (own === null) return []
  const has = (name: string): boolean => stages.some((stage) => stage.name === name)
  return [
    ...(factsOf(stages).store === undefined
      ? ['the pipeline has no idempotency(): a message that is redelivered within the replay is handled once more']
      : []),
    ...(has('sequence')
      ? ["sequence() calls messages of the replay 'stale' and does not hand them to the handler"]
      : []),
  ]
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, each) => total + each, 0)
}
