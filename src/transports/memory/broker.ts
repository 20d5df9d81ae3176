import { createHash } from 'node:crypto'
import { systemClock, type Clock } from '../../core/clock.ts'
import { HoldfastError } from '../../core/errors.ts'
import {
  anything,
  badOption,
  checkOptions,
  clockKind,
  number,
  objects,
  requireCount,
  requireMs,
} from '../../core/options.ts'
import { bytesOfKey } from '../../core/message.ts'
import type { Outgoing, Publisher, PublishOptions } from '../../core/publisher.ts'
import { group, type Group } from './group.ts'
import { partitionLog, type PartitionLog } from './log.ts'
import { seeded } from './random.ts'

export interface MemoryBrokerOptions {
  /** Number of partitions of a topic made without `createTopic`. @defaultValue 4 */
  readonly partitions?: number
  /** Seed of all random faults. @defaultValue 1 */
  readonly seed?: number
  /** Most unconsumed messages in one partition. Publishing more fails as an outage. @defaultValue 100_000 */
  readonly maxMessages?: number
  /** @defaultValue none */
  readonly faults?: MemoryFaults
  readonly clock?: Clock
}

/** Faults to inject. Each share is between 0 and 1. */
export interface MemoryFaults {
  /** The share of messages that are delivered twice, the second time a little later. */
  readonly duplicates?: number
  /** Longest random delay of a message in ms. The order within a partition stays. */
  readonly delayMs?: number
  /** The share of publish calls that fail before writing. */
  readonly refusals?: number
  /** The share of publish calls that fail after writing everything. */
  readonly lostConfirms?: number
}

/** A broker in this process, with partitions, consumer groups and committed offsets. All messages are lost when it ends. */
export interface MemoryBroker {
  publisher(): Publisher
  createTopic(topic: string, partitions: number): void
  /** Returns the messages that a topic keeps now, partition by partition. */
  messages(topic: string): readonly Outgoing[]
  /** Returns a group's committed offset in each partition: that of the first message not acked. */
  committed(groupId: string, topic: string): readonly number[]
  /** Returns the number of messages that a group has not acked. */
  lag(groupId: string, topic: string): number
  /** @internal */
  readonly groups: (groupId: string) => Group
  /** @internal */
  readonly logs: (topic: string) => readonly PartitionLog[]
}

const duplicateWithinMs = 50

export function memoryBroker(options: MemoryBrokerOptions = {}): MemoryBroker {
  const {
    partitions = 4,
    seed = 1,
    maxMessages = 100_000,
    faults = {},
    clock = systemClock,
  } = checkOptions('memoryBroker', options, {
    partitions: anything,
    seed: number(),
    maxMessages: anything,
    faults: objects,
    clock: clockKind,
  })
  requireCount('memoryBroker', { partitions, maxMessages })
  const { duplicates = 0, delayMs = 0, refusals = 0, lostConfirms = 0 } = faults
  requireMs('memoryBroker', { delayMs }, 0)
  for (const [name, share] of Object.entries({ duplicates, refusals, lostConfirms }))
    if (!(share >= 0 && share <= 1)) throw badOption('memoryBroker', name, 'a share from 0 to 1', share)
  const random = seeded(seed)
  const topics = new Map<string, readonly PartitionLog[]>()
  const groups = new Map<string, Group>()

  function createTopic(topic: string, count: number): readonly PartitionLog[] {
    requireCount('memoryBroker', { partitions: count })
    if (topics.has(topic)) throw new HoldfastError('bad-option', `memoryBroker: the topic '${topic}' exists`)
    const logs = Array.from({ length: count }, (_, partition) => {
      const log: PartitionLog = partitionLog(topic, partition, maxMessages, () => consumed(log))
      return log
    })
    topics.set(topic, logs)
    return logs
  }

  function logsOf(topic: string): readonly PartitionLog[] {
    return topics.get(topic) ?? createTopic(topic, partitions)
  }

  function consumed(log: PartitionLog): number {
    // A group that reads other topics never commits here.
    const readers = [...groups.values()].filter((each) => each.reads(log.topic))
    return readers.length === 0 ? 0 : Math.min(...readers.map((each) => each.committed(log)))
  }

  function groupOf(groupId: string): Group {
    const known = groups.get(groupId)
    if (known !== undefined) return known
    const made = group(groupId, logsOf)
    groups.set(groupId, made)
    return made
  }

  let spread = 0
  function append(message: Outgoing): void {
    const logs = logsOf(message.destination)
    const at = message.key === null ? spread++ : hash(message.key)
    const log = logs[at % logs.length]
    if (log === undefined) return
    const waitMs = delayMs === 0 ? 0 : random() * delayMs
    log.append(message, clock.now() + waitMs)
    if (waitMs > 0) clock.after(waitMs + 1, () => wake(log))
    else wake(log)
  }

  function wake(log: PartitionLog): void {
    for (const reader of log.readers) reader()
  }

  async function publish(messages: readonly Outgoing[], { signal }: PublishOptions = {}): Promise<void> {
    signal?.throwIfAborted()
    if (refusals > 0 && random() < refusals) throw new HoldfastError('unavailable', 'memory: publishing was refused')
    for (const message of messages) {
      append(message)
      if (duplicates > 0 && random() < duplicates) clock.after(random() * duplicateWithinMs, () => append(message))
    }
    if (lostConfirms > 0 && random() < lostConfirms)
      throw new HoldfastError('unavailable', 'memory: the confirmation was lost')
  }

  return {
    publisher: () => ({ publish }),
    createTopic: (topic, count) => void createTopic(topic, count),
    messages: (topic) =>
      logsOf(topic).flatMap((log) =>
        Array.from({ length: log.end - log.start }, (_, at) => log.read(log.start + at, Infinity)).filter(
          (message) => message !== undefined,
        ),
      ),
    committed: (groupId, topic) => logsOf(topic).map((log) => groupOf(groupId).committed(log)),
    lag: (groupId, topic) => logsOf(topic).reduce((sum, log) => sum + log.end - groupOf(groupId).committed(log), 0),
    groups: groupOf,
    logs: logsOf,
  }
}

/** Not for secrets: only so that one key always has one partition. */
function hash(key: string): number {
  return createHash('md5').update(bytesOfKey(key)).digest().readUInt32BE(0)
}
