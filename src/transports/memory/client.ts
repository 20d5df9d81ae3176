import { HoldfastError } from '../../core/errors.ts'
import type { Clock } from '../../core/clock.ts'
import type { Outgoing } from '../../core/publisher.ts'
import type {
  Generation,
  LogClient,
  LogHost,
  LogMembership,
  LogSession,
  Place,
  Position,
} from '../../consumer/log/log-client.ts'
import type { Features } from '../../consumer/features.ts'
import { features } from '../features.ts'
import type { Group, Member, Ownership } from './group.ts'
import type { PartitionLog } from './log.ts'

/** A message where it lies. */
export interface MemoryRecord {
  readonly offset: number
  readonly message: Outgoing
}

export interface MemoryClientOptions {
  readonly group: Group
  readonly topics: readonly string[]
  /** Records that one batch may have. */
  readonly batch: number
  readonly clock: Clock
}

/** A member of a group of the memory broker, as the log consumer's client. */
export class MemoryClient implements LogClient<MemoryRecord> {
  readonly system = 'memory'
  readonly features: Features = features.memory
  readonly #options: MemoryClientOptions
  #membership: MemoryMembership | undefined
  #hasCrashed = false

  constructor(options: MemoryClientOptions) {
    this.#options = options
  }

  offsetOf({ offset }: MemoryRecord): number {
    return offset
  }

  keyOf({ message }: MemoryRecord): string | null {
    return message.key
  }

  deliveryOf(
    { offset, message }: MemoryRecord,
    { topic, partition }: Place,
    { group, key, ...context }: Parameters<LogClient<MemoryRecord>['deliveryOf']>[2],
  ): ReturnType<LogClient<MemoryRecord>['deliveryOf']> {
    return {
      ...context,
      message,
      bytes: message.body,
      origin: {
        system: 'memory',
        destination: topic,
        partition: String(partition),
        position: String(offset),
        group,
      },
      raw: { key },
    }
  }

  verdictOn(): 'unknown' {
    return 'unknown'
  }

  async open(host: LogHost<MemoryRecord>): Promise<LogMembership> {
    if (this.#hasCrashed) throw crashed()
    const membership = new MemoryMembership(this.#options, host)
    this.#membership = membership
    await this.#options.group.join(membership)
    return membership
  }

  /** As a killed process: it says nothing to the group, and the group finds out. */
  async crash(): Promise<void> {
    this.#hasCrashed = true
    await this.#membership?.crash()
  }
}

class MemoryMembership implements LogMembership, Member {
  readonly #options: MemoryClientOptions
  readonly #host: LogHost<MemoryRecord>
  readonly name = crypto.randomUUID()
  #tenure: Tenure | undefined
  #isQuiet = false

  constructor(options: MemoryClientOptions, host: LogHost<MemoryRecord>) {
    this.#options = options
    this.#host = host
  }

  get topics(): readonly string[] {
    return this.#options.topics
  }

  async revoke(): Promise<void> {
    await this.#tenure?.generation.finish('join')
  }

  assign({ generation: of, partitions }: Ownership): void {
    const { group } = this.#options
    this.#tenure?.end()
    const tenure = new Tenure(partitions, {
      ...this.#options,
      member: this,
      of,
      isQuiet: () => this.#isQuiet,
    })
    const assigned = partitions.map((log) => ({
      topic: log.topic,
      partition: log.partition,
      committed: group.committed(log),
    }))
    tenure.begin(this.#host.joined(this.name, assigned, tenure))
    this.#tenure = tenure
  }

  async crash(): Promise<void> {
    this.#tenure?.end()
    this.#host.crashed(crashed(), true)
    await this.#options.group.evict(this)
  }

  quiet(): void {
    this.#isQuiet = true
  }

  async leave(): Promise<void> {
    this.#tenure?.end()
    await this.#options.group.leave(this)
  }
}

interface TenureOptions extends MemoryClientOptions {
  readonly member: Member
  /** The generation of the group. */
  readonly of: number
  readonly isQuiet: () => boolean
}

/** One generation: its commits, and the reading of its partitions. */
class Tenure implements LogSession {
  readonly #options: TenureOptions
  readonly #logs: ReadonlyMap<string, PartitionLog>
  readonly #full = new Set<PartitionLog>()
  readonly #readers = new Map<PartitionLog, () => void>()
  #generation: Generation<MemoryRecord> | undefined

  constructor(partitions: readonly PartitionLog[], options: TenureOptions) {
    this.#options = options
    this.#logs = new Map(partitions.map((log) => [idOf(log), log]))
  }

  get generation(): Generation<MemoryRecord> {
    if (this.#generation === undefined) throw new Error('not begun')
    return this.#generation
  }

  begin(generation: Generation<MemoryRecord>): void {
    this.#generation = generation
    for (const log of this.#logs.values()) {
      const wake = (): void => this.#read(log)
      log.readers.add(wake)
      this.#readers.set(log, wake)
      wake()
    }
  }

  end(): void {
    for (const [log, wake] of this.#readers) log.readers.delete(wake)
    this.#readers.clear()
  }

  async commit(positions: readonly Position[]): Promise<void> {
    const { group, member, of } = this.#options
    for (const place of positions) {
      const log = this.#logs.get(idOf(place))
      if (log !== undefined) group.commit(member, of, log, place.position)
    }
  }

  resume(place: Place): void {
    const log = this.#logs.get(idOf(place))
    if (log === undefined) return
    this.#full.delete(log)
    if (this.#readers.has(log)) this.#read(log)
  }

  #read(log: PartitionLog): void {
    const { group, isQuiet } = this.#options
    while (!isQuiet() && !this.#full.has(log)) {
      const from = Math.max(this.generation.next(log) ?? group.committed(log), log.start)
      const records = this.#recordsFrom(log, from)
      if (records.length === 0) return
      const last = from + records.length - 1
      const { topic, partition } = log
      const accepted = this.generation.accept({ topic, partition, records, from, first: from, last })
      if (accepted === 'refused') return
      if (accepted === 'full') this.#full.add(log)
    }
  }

  #recordsFrom(log: PartitionLog, from: number): readonly MemoryRecord[] {
    const { batch, clock } = this.#options
    const records: MemoryRecord[] = []
    for (let offset = from; records.length < batch; offset++) {
      const message = log.read(offset, clock.now())
      if (message === undefined) break
      records.push({ offset, message })
    }
    return records
  }
}

function crashed(): Error {
  return new HoldfastError('stopped', 'the consumer crashed')
}

function idOf({ topic, partition }: Place): string {
  return `${topic}/${partition}`
}
