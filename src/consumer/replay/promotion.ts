import { HoldfastError } from '../../core/errors.ts'
import { list, required, text, type Kinds } from '../../core/options.ts'
import type { LogState, ReplayLog } from './replay-log.ts'

/** The two groups of a promotion, as the promotions of all transports take them. */
export interface PromotionGroups {
  /** The group of the pipeline that works now. */
  readonly groupId: string
  /** The group of the one that takes its place. */
  readonly secondGroupId: string
  readonly topics: readonly string[]
}

export const promotionKinds: Kinds<PromotionGroups> = {
  groupId: required(text),
  secondGroupId: required(text),
  topics: required(list),
}

/** One partition, as both groups stand in it. */
export interface PromotionPartition {
  readonly name: string
  /** The first position that the first group has not done. */
  readonly first: number
  readonly second: number
}

/** What is to be done next so that the second pipeline takes the place of the first. */
export type PromotionStep =
  /** Stop the second one. It finishes what runs, and commits. */
  | { readonly step: 'stop-second'; readonly members: readonly string[] }
  /** The first one has to pass the second in these partitions. It runs, or is started again. */
  | { readonly step: 'let-first-pass'; readonly members: readonly string[] }
  /** Stop the first one in good order. */
  | { readonly step: 'stop-first'; readonly members: readonly string[] }
  /** Start the second one with this `until` of `replay()`. */
  | { readonly step: 'start-second'; readonly until: Readonly<Record<string, bigint>> }

export type PromotionReport = PromotionStep & {
  readonly first: string
  readonly second: string
  readonly partitions: readonly PromotionPartition[]
  /** Partitions in which the second group is ahead of the first. */
  readonly behind: readonly PromotionPartition[]
}

/**
 * Looks how two groups of one log stand, and says the next step of a promotion. It changes nothing: call it again after each
 * step. It gives `until` only once both groups are stopped and the first one is nowhere behind. What the second one left out
 * was then done by the first, and what the first one has not reached the second does.
 * @throws HoldfastError `bad-order` for groups of different topics, and for a second group that has never run; `unavailable`
 * when the broker does not answer.
 */
export async function promotion(first: ReplayLog, second: ReplayLog): Promise<PromotionReport> {
  try {
    if (first.group === second.group)
      throw refused(`'${first.group}' cannot take its own place: the second pipeline needs a group of its own`)
    const before = await membersOf(first, second)
    const partitions = joined(first, second, await first.states(), await second.states())
    // Nobody joined, worked and left while the positions were read: then they are those of groups that stand still.
    const after = await membersOf(first, second)
    const seconds = [...new Set([...before.second, ...after.second])]
    const firsts = [...new Set([...before.first, ...after.first])]
    const behind = partitions.filter((each) => each.first < each.second)
    const report = { first: first.group, second: second.group, partitions, behind }
    if (seconds.length > 0) return { ...report, step: 'stop-second', members: seconds }
    if (behind.length > 0) return { ...report, step: 'let-first-pass', members: firsts }
    if (firsts.length > 0) return { ...report, step: 'stop-first', members: firsts }
    return {
      ...report,
      step: 'start-second',
      until: Object.fromEntries(partitions.map((each) => [each.name, BigInt(each.first)])),
    }
  } finally {
    await Promise.all([first.close(), second.close()])
  }
}

async function membersOf(
  first: ReplayLog,
  second: ReplayLog,
): Promise<{ readonly first: readonly string[]; readonly second: readonly string[] }> {
  return { second: await second.members(), first: await first.members() }
}

function joined(
  first: ReplayLog,
  second: ReplayLog,
  firsts: readonly LogState[],
  seconds: readonly LogState[],
): readonly PromotionPartition[] {
  const names = (states: readonly LogState[]): string =>
    states
      .map(({ name }) => name)
      .sort()
      .join(', ')
  if (names(firsts) !== names(seconds))
    throw refused(
      `'${first.group}' reads ${names(firsts)}, and '${second.group}' reads ${names(seconds)}: both must read the same`,
    )
  if (seconds.every(({ stands }) => stands === undefined) && seconds.some(({ low, high }) => high > low))
    throw refused(`group '${second.group}' has never committed: let the second pipeline catch up first`)
  const standing = new Map(firsts.map((state) => [state.name, standsAt(state)]))
  // Brokers name the partitions of a topic in any order.
  return seconds
    .map((state) => ({ name: state.name, first: standing.get(state.name) ?? 0, second: standsAt(state) }))
    .sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }))
}

/** A group that never committed in a partition begins at what the log still has. */
function standsAt({ stands, low }: LogState): number {
  return stands ?? low
}

function refused(why: string): HoldfastError {
  return new HoldfastError('bad-order', `promotion: ${why}`)
}
