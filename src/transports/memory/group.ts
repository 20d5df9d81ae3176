import { HoldfastError } from '../../core/errors.ts'
import type { PartitionLog } from './log.ts'

/** A consumer, as its group sees it. */
export interface Member {
  readonly name: string
  readonly topics: readonly string[]
  /** Finishes what it started and commits, before its partitions may go to others. */
  revoke(): Promise<void>
  assign(owned: Ownership): void
}

/** What a member owns in one generation. */
export interface Ownership {
  readonly generation: number
  readonly partitions: readonly PartitionLog[]
}

/** Members that share the partitions of their topics, and where they stand. */
export interface Group {
  join(member: Member): Promise<void>
  leave(member: Member): Promise<void>
  /** Takes its partitions away without a word, as a session that ran out does. */
  evict(member: Member): Promise<void>
  /** @throws HoldfastError when the member does not own the partition in this generation. */
  commit(member: Member, generation: number, log: PartitionLog, position: number): void
  /** Never before the first message that is kept: a group that comes after trimming begins there. */
  committed(log: PartitionLog): number
  /** Moves it back. @throws HoldfastError when a member joined. */
  rewind(log: PartitionLog, position: number): void
  /** The names of those that are in it. */
  readonly members: readonly string[]
  /** Whether a member ever asked for the topic. */
  reads(topic: string): boolean
  readonly generation: number
}

export function group(id: string, logsOf: (topic: string) => readonly PartitionLog[]): Group {
  const members = new Set<Member>()
  const owners = new Map<PartitionLog, Member>()
  const positions = new Map<PartitionLog, number>()
  const read = new Set<string>()
  let generation = 0
  let rebalancing: Promise<void> = Promise.resolve()

  /** One at a time; every member is asked before anything changes hands. */
  function rebalance(change: () => void): Promise<void> {
    rebalancing = rebalancing.then(async () => {
      await Promise.all([...members].map((member) => member.revoke()))
      change()
      assignAll()
    })
    return rebalancing
  }

  function assignAll(): void {
    generation++
    owners.clear()
    const owned = new Map<Member, PartitionLog[]>([...members].map((member) => [member, []]))
    for (const topic of new Set([...members].flatMap(({ topics }) => topics))) {
      const interested = [...members].filter(({ topics }) => topics.includes(topic))
      logsOf(topic).forEach((log, at) => {
        const member = interested[at % interested.length]
        if (member === undefined) return
        owners.set(log, member)
        owned.get(member)?.push(log)
      })
    }
    for (const [member, partitions] of owned) member.assign({ generation, partitions })
  }

  return {
    join(member) {
      for (const topic of member.topics) read.add(topic)
      return rebalance(() => members.add(member))
    },
    leave: (member) => (members.has(member) ? rebalance(() => members.delete(member)) : Promise.resolve()),
    evict(member) {
      members.delete(member)
      for (const [log, owner] of owners) if (owner === member) owners.delete(log)
      return rebalance(() => {})
    },
    commit(member, of, log, position) {
      if (of !== generation || owners.get(log) !== member)
        throw new HoldfastError('unavailable', `memory: ${id} gave ${log.topic}/${log.partition} to another member`)
      positions.set(log, Math.max(position, positions.get(log) ?? 0))
    },
    rewind(log, position) {
      if (members.size > 0) throw new HoldfastError('unavailable', `memory: ${id} has members`)
      positions.set(log, position)
    },
    get members() {
      return [...members].map(({ name }) => name)
    },
    committed: (log) => Math.max(positions.get(log) ?? 0, log.start),
    reads: (topic) => read.has(topic),
    get generation() {
      return generation
    },
  }
}
