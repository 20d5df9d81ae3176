import type { Fault } from './faults.ts'
import { nameOf, type SimulatedProcess } from './process.ts'
import { scopes } from './scope.ts'
import type { Simulation } from './task.ts'
import { callFaults } from './task.ts'

/** A message in a partition. */
export interface LogRecord {
  readonly partition: number
  readonly offset: number
  readonly id: string
  readonly key: string
  readonly body: Uint8Array
}

/** A place in a group, from joining to leaving. */
export interface Member {
  readonly process: SimulatedProcess
  readonly incarnation: number
  readonly group: string
  generation: number
  /** Called once when there may be something to fetch. */
  wake: (() => void) | undefined
  stopped: boolean
}

export interface Fetched {
  readonly generation: number
  readonly records: readonly LogRecord[]
}

/** Partitions, groups, generations and sessions: what a log broker such as Kafka promises, and no more. */
export interface SimulatedBroker {
  readonly logs: readonly (readonly LogRecord[])[]
  append(partition: number, id: string, key: string, body: Uint8Array): LogRecord
  committed(group: string, partition: number): number
  /** The partitions that a member owns now. */
  owned(member: Member): readonly number[]
  /** Whether a group has acked a message by itself. */
  isAcked(group: string, partition: number, offset: number): boolean
  /** Acks one message by itself, as queues do. `fenced`: the partition belongs to somebody else by now. */
  ack(member: Member, partition: number, offset: number, generation: number): Promise<'ok' | 'fenced'>
  join(process: SimulatedProcess, group: string): Member
  leave(member: Member): void
  /** Partitions move. */
  rebalance(): void
  /** The group notices that a member is silent once its session is over. */
  watch(member: Member): void
  /**
   * Waits for messages. No records and another generation than the one that is known: the partitions have moved.
   * `undefined` after the member was stopped.
   */
  poll(
    member: Member,
    known: number,
    from: (partition: number, committed: number) => number,
  ): Promise<Fetched | undefined>
  /** `fenced`: the partition belongs to somebody else by now. */
  commit(member: Member, partition: number, offset: number, generation: number): Promise<'ok' | 'fenced'>
}

export interface SimulatedBrokerOptions {
  readonly simulation: Simulation
  readonly partitions: number
  readonly onCommit: (group: string, records: readonly LogRecord[], by: SimulatedProcess) => void
}

const sessionMs = 10_000
const maxFetched = 4
const pollFaults: readonly Fault[] = ['crash', 'pause', 'rebalance', 'stop', 'partial-batch']
const commitFaults = callFaults.filter((fault) => fault !== 'outlive')

export function simulatedBroker({ simulation, partitions, onCommit }: SimulatedBrokerOptions): SimulatedBroker {
  const logs: LogRecord[][] = Array.from({ length: partitions }, () => [])
  const committed = new Map<string, number>()
  const acked = new Set<string>()
  const members: Member[] = []
  let generation = 1
  let turns = 0
  let version = 0

  function wakeAll(): void {
    version++
    for (const member of members) wake(member)
  }

  function wake(member: Member): void {
    const woken = member.wake
    member.wake = undefined
    woken?.()
  }

  function owned(member: Member): number[] {
    const group = members.filter((other) => other.group === member.group)
    const place = group.indexOf(member)
    return place < 0 ? [] : [...logs.keys()].filter((partition) => (partition + turns) % group.length === place)
  }

  function regroup(): void {
    generation++
    for (const member of members) member.generation = generation
    wakeAll()
  }

  function leave(member: Member): void {
    const place = members.indexOf(member)
    if (place < 0) return
    members.splice(place, 1)
    regroup()
    wake(member)
  }

  function committedAt(group: string, partition: number): number {
    return committed.get(`${group}/${partition}`) ?? 0
  }

  return {
    logs,
    leave,
    committed: committedAt,
    owned,
    isAcked: (group, partition, offset) => acked.has(`${group}/${partition}/${offset}`),
    ack(member, partition, offset, epoch) {
      return simulation.op(
        member.process,
        `ack p${partition}@${offset}`,
        () => {
          if (!members.includes(member) || epoch !== member.generation || !owned(member).includes(partition))
            return 'fenced'
          const id = `${member.group}/${partition}/${offset}`
          const record = logs[partition]?.[offset]
          if (record !== undefined && !acked.has(id)) onCommit(member.group, [record], member.process)
          acked.add(id)
          let position = committedAt(member.group, partition)
          while (acked.has(`${member.group}/${partition}/${position}`)) position++
          committed.set(`${member.group}/${partition}`, position)
          return 'ok'
        },
        { faults: commitFaults },
      )
    },
    append(partition, id, key, body) {
      const log = logs[partition] ?? []
      const record = { partition, offset: log.length, id, key, body }
      log.push(record)
      wakeAll()
      return record
    },
    join(process, group) {
      const { incarnation } = process
      const member: Member = { process, incarnation, group, generation: 0, wake: undefined, stopped: false }
      members.push(member)
      regroup()
      return member
    },
    rebalance() {
      simulation.say('broker', 'moves the partitions')
      turns++
      regroup()
    },
    watch(member) {
      const { process, incarnation } = member
      const who = nameOf(process)
      simulation.later(sessionMs, `session of ${who} ends`, () => {
        if (!members.includes(member) || (process.incarnation === incarnation && process.state === 'up')) return
        simulation.say('broker', `${who} is silent: its partitions go to others`)
        leave(member)
      })
    },
    async poll(member, known, from) {
      const { process } = member
      for (;;) {
        if (member.stopped) return undefined
        let seen = 0
        let few = false
        const fetched = await simulation.op<Fetched>(
          process,
          'poll',
          () => {
            seen = version
            // Evicted while it stood still: it joins again. One that has left does not, although its last poll comes late.
            if (!members.includes(member) && !member.stopped) {
              members.push(member)
              regroup()
            }
            const { generation: now } = member
            if (now !== known) return { generation: now, records: [] }
            const records = owned(member).flatMap((partition) => {
              const log = logs[partition] ?? []
              const next = from(partition, committedAt(member.group, partition))
              return log.slice(next, next + (few ? 1 : maxFetched))
            })
            return { generation: now, records: few ? records.slice(0, 1) : records }
          },
          {
            faults: pollFaults,
            quiet: true,
            strike(deviation) {
              few = deviation.do === 'partial-batch'
              return undefined
            },
          },
        )
        if (fetched.records.length > 0 || fetched.generation !== known) return fetched
        // A wait now would miss what came since the answer was given.
        if (seen === version) await sleepUntilWoken(member)
      }
    },
    commit(member, partition, offset, epoch) {
      return simulation.op(
        member.process,
        `commit p${partition}@${offset}`,
        () => {
          if (!members.includes(member) || epoch !== member.generation || !owned(member).includes(partition))
            return 'fenced'
          const before = committedAt(member.group, partition)
          committed.set(`${member.group}/${partition}`, offset)
          onCommit(member.group, (logs[partition] ?? []).slice(before, offset), member.process)
          return 'ok'
        },
        { faults: commitFaults },
      )
    },
  }

  async function sleepUntilWoken(member: Member): Promise<void> {
    if (member.stopped) return
    const { process, incarnation } = member
    const scope = scopes.getStore()
    if (scope !== undefined) scope.pending++
    await new Promise<void>((resolve) => {
      member.wake = () =>
        simulation.ready({
          label: `${nameOf(process)} is woken at ${version}`,
          process,
          phase: 'event',
          faults: [],
          run() {
            if (process.incarnation !== incarnation) return false
            if (scope !== undefined) scope.pending--
            resolve()
            return true
          },
        })
    })
  }
}
