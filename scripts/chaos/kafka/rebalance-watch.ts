import type { Health } from '../../../src/core/health.ts'
import { subscribe, type ConsumerChange } from '../../../src/core/events.ts'

/** What of a consumer's changes is an alarm. In a run without faults each of them is a false one. */
const alarms: ReadonlySet<string> = new Set(['lost', 'silent', 'crashed', 'out-of-range', 'messages-lost', 'gap'])

// As the members' default: the group waits for none of them any longer.
const rebalanceMs = 60_000

/** A member of the group, as far as the watch needs it. */
export interface Watched {
  health(): Health
}

/** A partition that a ready member owned, with messages, for so long after the last join or drain, and none was handled. */
export interface StandStill {
  readonly partition: number
  readonly ms: number
  readonly owners: readonly string[]
  /** What happened before. */
  readonly timeline: readonly string[]
}

/** Counts what every partition was sent and what was handled, and finds the partition that stands still. */
export class RebalanceWatch {
  readonly #limitMs: number
  readonly #produced: number[]
  readonly #handled: Set<string>[]
  readonly #movedAtMs: number[]
  readonly #standing = new Set<number>()
  readonly #timeline: string[] = []
  /** A member has drained for a join, which the others may keep waiting for as long as they drain. */
  #isRebalancing = false
  readonly standStills: StandStill[] = []
  readonly alarms = new Map<string, number>()
  readonly alarmTexts: string[] = []
  readonly drains: number[] = []
  readonly stop: () => void
  joins = 0
  deliveries = 0
  commitsFailed = 0
  longestMs = 0

  constructor(group: string, partitions: number, limitMs: number) {
    this.#limitMs = limitMs
    this.#produced = Array.from({ length: partitions }, () => 0)
    this.#handled = Array.from({ length: partitions }, () => new Set())
    this.#movedAtMs = Array.from({ length: partitions }, () => performance.now())
    this.stop = subscribe('consumer-changed', (change) => {
      if (change.group === group) this.#noted(change)
    })
  }

  /** For the timeline of a stand-still. */
  note(what: string): void {
    this.#timeline.push(`${(performance.now() / 1000).toFixed(2)} s ${what}`)
    if (this.#timeline.length > 60) this.#timeline.shift()
  }

  #noted({ change, detail, error }: ConsumerChange): void {
    this.note(`${change} ${JSON.stringify(detail)} ${error instanceof Error ? error.message : ''}`)
    if (change === 'drained') this.drains.push(Number(detail?.['ms']))
    // A rebalance is under way, or has just ended: between two that follow close upon each other there may be no fetch.
    if (change === 'drained' || change === 'joined') this.#movedAtMs.fill(performance.now())
    if (change === 'drained') this.#isRebalancing = true
    if (change === 'joined') this.#isRebalancing = false
    if (change === 'joined') this.joins++
    if (change === 'commit-failed') this.commitsFailed++
    if (!alarms.has(change)) return
    this.alarms.set(change, (this.alarms.get(change) ?? 0) + 1)
    this.alarmTexts.push(`${change} ${JSON.stringify(detail)} ${error instanceof Error ? error.message : ''}`)
  }

  sent(partition: number): void {
    const nothingWaited = this.#waiting(partition) === 0
    this.#produced[partition] = (this.#produced[partition] ?? 0) + 1
    if (nothingWaited) this.#movedAtMs[partition] = performance.now()
  }

  handled(partition: number, position: string): void {
    this.deliveries++
    this.#handled[partition]?.add(position)
    this.#movedAtMs[partition] = performance.now()
    this.#standing.delete(partition)
  }

  /** Looks for partitions that have messages and handled none for the limit. Each stand-still counts once. */
  look(members: readonly Watched[]): void {
    const nowMs = performance.now()
    for (const [partition, sinceMs] of this.#movedAtMs.entries()) {
      if (this.#waiting(partition) === 0) continue
      const ms = Math.round(nowMs - sinceMs)
      this.longestMs = Math.max(this.longestMs, ms)
      if (
        ms < (this.#isRebalancing ? rebalanceMs : this.#limitMs) ||
        this.#standing.has(partition) ||
        !isOwned(partition, members)
      )
        continue
      this.#standing.add(partition)
      this.standStills.push({
        partition,
        ms,
        owners: members.map((member) => JSON.stringify(member.health())),
        timeline: [...this.#timeline],
      })
    }
  }

  #waiting(partition: number): number {
    return (this.#produced[partition] ?? 0) - (this.#handled[partition]?.size ?? 0)
  }

  get produced(): number {
    return this.#produced.reduce((sum, each) => sum + each, 0)
  }

  get distinct(): number {
    return this.#handled.reduce((sum, each) => sum + each.size, 0)
  }
}

/** Whether a member says that it is ready and has the partition. Without an owner the group is rebalancing. */
function isOwned(partition: number, members: readonly Watched[]): boolean {
  return members.some((member) => {
    const { ready, details } = member.health()
    const owned: unknown = details['partitions']
    return ready && Array.isArray(owned) && owned.some((each: { partition?: unknown }) => each.partition === partition)
  })
}
