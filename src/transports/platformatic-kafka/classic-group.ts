import { asError } from '../../core/as-error.ts'
import { sleep, type Clock } from '../../core/clock.ts'
import type { Coordinator, Position } from './coordinator.ts'
import { apiIdOf, endedMembership, isFatal } from './errors.ts'
import type { Group, GroupHost, GroupSettings } from './group.ts'
import { assignorNames, deal, decodeAssignment, encodeSubscription, topicsOf, type GroupMember } from './round-robin.ts'
import type { Wire } from './wire.ts'

interface ClassicGroupParts {
  readonly coordinator: Coordinator
  /** For heartbeats and metadata. */
  readonly quick: Wire
  /** For JoinGroup and SyncGroup, which the broker holds back until every member has come. */
  readonly slow: Wire
  readonly settings: GroupSettings
  readonly host: GroupHost
  readonly clock: Clock
}

const noGeneration = -1

/**
 * The classic protocol: the member joins again at every rebalance, after its work is finished and committed.
 * It heartbeats on a timer of its own, while it finishes and while it joins.
 */
export class ClassicGroup implements Group {
  readonly #parts: ClassicGroupParts
  readonly #closing = new AbortController()
  #memberId = ''
  #generation = noGeneration
  /** The generation that the consumer works under. What it commits is of that one. */
  #confirmed = noGeneration
  #mustJoin = true
  #wasMember = false
  #wake: (() => void) | undefined
  #stopBeating: (() => void) | undefined
  #living: Promise<void> | undefined

  constructor(parts: ClassicGroupParts) {
    this.#parts = parts
  }

  begin(): void {
    this.#beatLater()
    this.#living = this.#live().catch((error: unknown) => this.#parts.host.failed(asError(error), true))
  }

  async commit(positions: readonly Position[]): Promise<void> {
    if (this.#generation === noGeneration || this.#generation !== this.#confirmed)
      throw new Error('the group is being joined: its new generation may not commit yet')
    await this.#parts.coordinator.commit({ id: this.#memberId, epoch: this.#generation }, positions)
  }

  async leave(): Promise<void> {
    this.#closing.abort()
    this.#stopBeating?.()
    this.#wake?.()
    const { coordinator, settings } = this.#parts
    if (this.#memberId !== '') {
      const member = { memberId: this.#memberId, groupInstanceId: null, reason: 'the consumer stopped' }
      // Without an answer the session ends by itself.
      await coordinator.ask('LeaveGroup', settings.groupId, [member]).catch(() => {})
    }
    this.#generation = noGeneration
  }

  /** Ends when the membership has ended for good. For tests and for `leave` alike. */
  get ended(): Promise<void> {
    return this.#living ?? Promise.resolve()
  }

  async #live(): Promise<void> {
    const { host, clock } = this.#parts
    let failures = 0
    while (!this.#isClosed()) {
      try {
        await this.#join()
        this.#wasMember = true
        failures = 0
        await this.#rebalanceDue()
        if (this.#isClosed()) return
        await host.finish('join', [])
      } catch (error) {
        if (this.#isClosed()) return
        const id = apiIdOf(error)
        if (id === 'REBALANCE_IN_PROGRESS') continue
        if (isFatal(error, this.#wasMember)) return host.failed(asError(error), true)
        if (id !== undefined && endedMembership.has(id)) this.#leaveGeneration(error, id)
        else if (failures === 0) host.failed(asError(error), false)
        failures++
        await sleep(clock, backoffMs(failures), this.#closing.signal).catch(() => {})
      }
    }
  }

  async #join(): Promise<void> {
    this.#mustJoin = false
    const answer = await this.#askToJoin().catch((error: unknown) => {
      // A new member is given its id first, and comes again with it.
      const id = givenMemberId(error)
      if (id === undefined) throw error
      this.#memberId = id
      return this.#askToJoin()
    })
    const { memberId, generationId, leader, members, protocolName } = answer
    this.#memberId = memberId
    this.#generation = generationId
    const { coordinator, slow, settings, host } = this.#parts
    const shares = leader === memberId ? await this.#assign(members) : []
    const synced = await coordinator.askVia(
      slow,
      'SyncGroup',
      settings.groupId,
      generationId,
      memberId,
      null,
      'consumer',
      protocolName,
      [...shares],
    )
    if (this.#generation !== generationId) throw new Error('the generation ended while its assignment was on its way')
    await host.joined(memberId, decodeAssignment(synced.assignment))
    // A beat may have ended this generation meanwhile. Then nothing may be committed under it.
    if (this.#generation === generationId) this.#confirmed = generationId
  }

  #askToJoin() {
    const { coordinator, slow, settings } = this.#parts
    const { groupId, topics, sessionMs, rebalanceMs } = settings
    const metadata = encodeSubscription(topics)
    const protocols = assignorNames.map((name) => ({ name, metadata }))
    return coordinator.askVia(
      slow,
      'JoinGroup',
      groupId,
      sessionMs,
      rebalanceMs,
      this.#memberId,
      null,
      'consumer',
      protocols,
      null,
    )
  }

  async #assign(members: readonly GroupMember[]) {
    const { quick } = this.#parts
    quick.forget()
    const { topics } = await quick.known(topicsOf(members))
    return deal(members, (topic) => topics.get(topic)?.partitions.length ?? 0)
  }

  async #rebalanceDue(): Promise<void> {
    if (this.#mustJoin || this.#isClosed()) return
    await new Promise<void>((resolve) => {
      this.#wake = resolve
    })
    this.#wake = undefined
  }

  #joinAgain(): void {
    this.#mustJoin = true
    this.#wake?.()
  }

  #beatLater(): void {
    const { clock, settings } = this.#parts
    if (this.#isClosed()) return
    this.#stopBeating = clock.after(settings.heartbeatMs, () => {
      // On a timer, not after the last answer: a slow answer must not cost the session.
      this.#beatLater()
      void this.#beat()
    })
  }

  async #beat(): Promise<void> {
    const { coordinator, settings, host } = this.#parts
    const generation = this.#generation
    if (generation === noGeneration || this.#isClosed()) return
    try {
      await coordinator.ask('Heartbeat', settings.groupId, generation, this.#memberId, null)
      host.heard()
    } catch (error) {
      // The answer to a beat of an earlier generation says nothing about this one.
      if (generation !== this.#generation) return
      const id = apiIdOf(error)
      if (id === 'REBALANCE_IN_PROGRESS') {
        host.heard()
        // While the join is under way, everybody is told so.
        if (generation !== this.#confirmed) return
        host.rebalancing()
        this.#joinAgain()
      } else if (id !== undefined && endedMembership.has(id)) {
        this.#leaveGeneration(error, id)
        this.#joinAgain()
      }
    }
  }

  #leaveGeneration(error: unknown, id: string): void {
    this.#generation = noGeneration
    if (id !== 'ILLEGAL_GENERATION') this.#memberId = ''
    this.#mustJoin = true
    this.#parts.host.lost(asError(error))
  }

  #isClosed(): boolean {
    return this.#closing.signal.aborted
  }
}

function givenMemberId(error: unknown): string | undefined {
  if (apiIdOf(error) !== 'MEMBER_ID_REQUIRED') return undefined
  const response: unknown = error instanceof Error && 'response' in error ? error.response : undefined
  if (typeof response !== 'object' || response === null || !('memberId' in response)) return undefined
  return typeof response.memberId === 'string' ? response.memberId : undefined
}

function backoffMs(failures: number): number {
  return Math.min(100 * 2 ** Math.min(failures, 5), 2_000)
}
