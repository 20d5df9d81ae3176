import { asError } from '../../core/as-error.ts'
import { randomUUID } from 'node:crypto'
import type { Clock } from '../../core/clock.ts'
import type { Coordinator, Place, Position } from './coordinator.ts'
import { apiIdOf, endedMembership, isFatal } from './errors.ts'
import type { Group, GroupHost, GroupSettings } from './group.ts'
import type { AnswerOf, Wire } from './wire.ts'

interface ConsumerGroupParts {
  readonly coordinator: Coordinator
  readonly quick: Wire
  readonly settings: Omit<GroupSettings, 'sessionMs'>
  readonly host: GroupHost
  readonly clock: Clock
}

/** Partitions by the topic's id, as the broker assigns them. */
type Partitions = ReadonlyMap<string, ReadonlySet<number>>

const joining = 0
const leaving = -1
const commitTries = 6

/**
 * The consumer protocol (KIP-848): the broker assigns. A member keeps what it has, and gives up what is taken away in the
 * heartbeat after its work there is finished and committed. Heartbeats go on meanwhile with the old ownership.
 */
export class ConsumerGroup implements Group {
  readonly #parts: ConsumerGroupParts
  #memberId: string = randomUUID()
  #epoch = joining
  #owned: Partitions = new Map()
  /** The id of each topic, as last seen. */
  readonly #topicIds = new Map<string, string>()
  /** Grows whenever the membership begins anew. What was asked before is answered too late. */
  #membership = 0
  #confirmed = false
  #wasMember = false
  #reconciling = false
  readonly #closing = new AbortController()
  #beating: Promise<void> | undefined
  #stopTimer: (() => void) | undefined
  #everyMs: number

  constructor(parts: ConsumerGroupParts) {
    this.#parts = parts
    this.#everyMs = parts.settings.heartbeatMs
  }

  begin(): void {
    void this.#beat()
  }

  async commit(positions: readonly Position[]): Promise<void> {
    for (let tries = 1; ; tries++) {
      if (this.#epoch <= joining) throw new Error('the member is not in the group')
      const membership = this.#membership
      try {
        await this.#parts.coordinator.commit({ id: this.#memberId, epoch: this.#epoch }, positions)
        return
      } catch (error) {
        // The commit crossed with a heartbeat that raised the epoch. The next heartbeat tells the new one.
        if (apiIdOf(error) !== 'STALE_MEMBER_EPOCH' || tries === commitTries) throw error
        await this.#beat()
        if (this.#membership !== membership) throw error
      }
    }
  }

  async leave(): Promise<void> {
    this.#closing.abort()
    this.#stopTimer?.()
    await this.#sayGoodbye(this.#memberId)
  }

  /** One heartbeat at a time: two that cross would tell different epochs. */
  #beat(): Promise<void> {
    this.#beating ??= this.#beatOnce().finally(() => {
      this.#beating = undefined
    })
    return this.#beating
  }

  async #beatOnce(): Promise<void> {
    if (this.#isClosed()) return
    this.#stopTimer?.()
    const membership = this.#membership
    try {
      const answer = await this.#sendHeartbeat()
      if (!this.#isOf(membership)) return
      this.#epoch = answer.memberEpoch
      this.#everyMs = Math.min(this.#parts.settings.heartbeatMs, answer.heartbeatIntervalMs)
      this.#parts.host.heard()
      const target = answer.assignment?.topicPartitions
      if (target !== undefined && !this.#reconciling)
        void this.#reconcile(new Map(target.map(({ topicId, partitions }) => [topicId, new Set(partitions)])))
    } catch (error) {
      if (this.#isOf(membership)) this.#beatFailed(error)
    } finally {
      this.#beatLater()
    }
  }

  #sendHeartbeat(): Promise<AnswerOf<'ConsumerGroupHeartbeat'>> {
    const { coordinator, settings } = this.#parts
    const { groupId, topics, rebalanceMs } = settings
    const owned = [...this.#owned].map(([topicId, partitions]) => ({ topicId, partitions: [...partitions] }))
    return coordinator.ask(
      'ConsumerGroupHeartbeat',
      groupId,
      this.#memberId,
      this.#epoch,
      null,
      null,
      rebalanceMs,
      [...topics],
      null,
      null,
      this.#epoch === joining ? [] : owned,
    )
  }

  #beatFailed(error: unknown): void {
    const { host } = this.#parts
    const id = apiIdOf(error)
    if (id !== undefined && endedMembership.has(id)) {
      // Brokers before KAFKA-19233 refuse a fenced id that begins again: it leaves, and another one joins.
      void this.#sayGoodbye(this.#memberId)
      this.#memberId = randomUUID()
      this.#epoch = joining
      this.#owned = new Map()
      this.#confirmed = false
      this.#membership++
      this.#everyMs = Math.min(100, this.#parts.settings.heartbeatMs)
      host.lost(asError(error))
    } else if (isFatal(error, this.#wasMember)) {
      this.#closing.abort()
      host.failed(asError(error), true)
    } else if (this.#epoch === joining) host.failed(asError(error), false)
  }

  #beatLater(): void {
    if (this.#isClosed()) return
    this.#stopTimer?.()
    this.#stopTimer = this.#parts.clock.after(this.#everyMs, () => void this.#beat())
  }

  async #reconcile(target: Partitions): Promise<void> {
    const { host, quick, settings } = this.#parts
    const revoked = without(this.#owned, target)
    if (this.#confirmed && revoked.size === 0 && without(target, this.#owned).size === 0) return
    const membership = this.#membership
    this.#reconciling = true
    try {
      quick.forget()
      const { topics } = await quick.known(settings.topics)
      const names = new Map([...topics].map(([name, { id }]) => [id, name]))
      this.#compareIds(names)
      if (revoked.size > 0) await host.finish('revoke', placesOf(revoked, names))
      if (!this.#isOf(membership)) return
      await host.joined(this.#memberId, placesOf(target, names))
      if (!this.#isOf(membership)) return
      this.#owned = target
      this.#confirmed = true
      this.#wasMember = true
    } catch (error) {
      // The next heartbeat brings the same target again.
      if (!this.#confirmed) host.failed(asError(error), false)
    } finally {
      this.#reconciling = false
    }
    // A heartbeat that is under way still says what was owned before.
    await this.#beating
    await this.#beat()
  }

  /** The broker hands out the partitions of a topic that was made anew like any others. */
  #compareIds(names: ReadonlyMap<string, string>): void {
    for (const [id, topic] of names) {
      const before = this.#topicIds.get(topic)
      if (before !== undefined && before !== id) this.#parts.host.madeAnew(topic)
      this.#topicIds.set(topic, id)
    }
  }

  #isClosed(): boolean {
    return this.#closing.signal.aborted
  }

  #isOf(membership: number): boolean {
    return membership === this.#membership && !this.#isClosed()
  }

  async #sayGoodbye(memberId: string): Promise<void> {
    const { coordinator, settings } = this.#parts
    await coordinator
      .ask('ConsumerGroupHeartbeat', settings.groupId, memberId, leaving, null, null, -1, [], null, null, [])
      .catch(() => {})
  }
}

/** The partitions of one that are not in the other. */
function without(one: Partitions, other: Partitions): Partitions {
  const left = new Map<string, Set<number>>()
  for (const [id, partitions] of one) {
    const only = [...partitions].filter((partition) => other.get(id)?.has(partition) !== true)
    if (only.length > 0) left.set(id, new Set(only))
  }
  return left
}

function placesOf(partitions: Partitions, names: ReadonlyMap<string, string>): readonly Place[] {
  return [...partitions].flatMap(([id, numbers]) => {
    const topic = names.get(id)
    // A topic that was deleted meanwhile has no partitions to own.
    return topic === undefined ? [] : [...numbers].map((partition) => ({ topic, partition }))
  })
}
