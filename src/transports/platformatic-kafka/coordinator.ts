import { apiIdOf } from './errors.ts'
import type { AnswerOf, ArgumentsOf, RequestName, Wire } from './wire.ts'

/** The partitions of one topic. */
export interface Place {
  readonly topic: string
  readonly partition: number
}

export interface Position extends Place {
  readonly position: number
}

/** Under which name and epoch a member commits. */
export interface MemberEpoch {
  readonly id: string
  readonly epoch: number
}

export const placeId = (topic: string, partition: number): string => `${topic}/${partition}`

/** The broker that keeps a group, looked up again whenever it may have moved. */
export class Coordinator {
  readonly #wire: Wire
  readonly #groupId: string
  #node: number | undefined

  constructor(wire: Wire, groupId: string) {
    this.#wire = wire
    this.#groupId = groupId
  }

  ask<Name extends RequestName>(name: Name, ...args: ArgumentsOf<Name>): Promise<AnswerOf<Name>> {
    return this.askVia(this.#wire, name, ...args)
  }

  /** The same over another wire, for what the broker answers late. */
  async askVia<Name extends RequestName>(via: Wire, name: Name, ...args: ArgumentsOf<Name>): Promise<AnswerOf<Name>> {
    try {
      this.#node ??= await this.#find()
      return await via.ask(this.#node, name, ...args)
    } catch (error) {
      const id = apiIdOf(error)
      if (id === undefined || id === 'NOT_COORDINATOR' || id.startsWith('COORDINATOR_')) {
        this.#node = undefined
        this.#wire.forget()
      }
      throw error
    }
  }

  async commit({ id, epoch }: MemberEpoch, positions: readonly Position[]): Promise<void> {
    const topics = [...Map.groupBy(positions, ({ topic }) => topic)].map(([name, all]) => ({
      name,
      partitions: all.map(({ partition, position }) => ({
        partitionIndex: partition,
        committedOffset: BigInt(position),
        committedLeaderEpoch: -1,
        committedMetadata: null,
      })),
    }))
    await this.ask('OffsetCommit', this.#groupId, epoch, id, null, topics)
  }

  /** What the group committed, by {@link placeId}; a partition without a commit is not in the map. */
  async committed(places: readonly Place[]): Promise<ReadonlyMap<string, number>> {
    const found = new Map<string, number>()
    if (places.length === 0) return found
    const topics = [...Map.groupBy(places, ({ topic }) => topic)].map(([name, all]) => ({
      name,
      partitionIndexes: all.map(({ partition }) => partition),
    }))
    const group = { groupId: this.#groupId, memberId: null, memberEpoch: -1, topics }
    // Stable offsets only: a transaction that commits offsets may be under way.
    const answer = await this.ask('OffsetFetch', [group], true)
    for (const { name, partitions } of answer.groups[0]?.topics ?? [])
      for (const { partitionIndex, committedOffset } of partitions)
        if (committedOffset >= 0n) found.set(placeId(name, partitionIndex), Number(committedOffset))
    return found
  }

  async #find(): Promise<number> {
    const { coordinators } = await this.#wire.ask(undefined, 'FindCoordinator', 0, [this.#groupId])
    const [found] = coordinators
    if (found === undefined) throw new Error(`no broker keeps the group '${this.#groupId}'`)
    return found.nodeId
  }
}
