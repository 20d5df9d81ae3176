import { sleep, systemClock, type Clock } from '../../core/clock.ts'
import { emitter } from '../../core/events.ts'
import { HoldfastError } from '../../core/errors.ts'
import type { HasHealth } from '../../core/health.ts'
import { badOption, requireCount, requireMethods, requireMs, requireText } from '../../core/options.ts'
import { lanes } from '../../consumer/lanes.ts'
import { attemptAfter } from '../../consumer/redelivery.ts'
import type { LaneTrack } from '../../consumer/track.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import type { Outgoing } from '../../core/publisher.ts'
import type { MemoryBroker } from './broker.ts'
import type { Member, Ownership } from './group.ts'
import type { PartitionLog } from './log.ts'

export interface MemoryConsumerOptions {
  readonly broker: MemoryBroker
  readonly groupId: string
  readonly topics: readonly string[]
  readonly pipeline: Pipeline
  /** Messages in flight at once; those of one key never are. @defaultValue 64 */
  readonly concurrency?: number
  /** How far past the first unfinished message of its partition one may be started. @defaultValue 256 */
  readonly ahead?: number
  /** The first wait after a failure that does not say when; doubled every time, at most 30 s. @defaultValue 1000 */
  readonly redeliverMs?: number
  /** How long what runs may go on at the end or in a rebalance; then its signal aborts. @defaultValue 10_000 */
  readonly drainMs?: number
  readonly clock?: Clock
}

export interface MemoryConsumer extends HasHealth {
  /** Consumes until the signal aborts, then finishes what was started and commits it. Once for each consumer. */
  run(signal: AbortSignal): Promise<void>
  /** Ends as a killed process does: nothing is committed any more, and the group gives its partitions to others. */
  crash(): Promise<void>
}

interface Item {
  readonly log: PartitionLog
  readonly offset: number
  readonly message: Outgoing
  readonly signal: AbortSignal
}

interface Owned {
  readonly log: PartitionLog
  readonly track: LaneTrack<Item>
  readonly controller: AbortController
  readonly generation: number
  next: number
  committed: number
}

const commitEveryMs = 5
const consumerChanged = emitter('consumer-changed')

/** Consumes topics of a {@link MemoryBroker} through the lanes that the Kafka consumer uses. */
export function memoryConsumer({
  broker,
  groupId,
  topics,
  pipeline,
  concurrency = 64,
  ahead = 256,
  redeliverMs = 1000,
  drainMs = 10_000,
  clock = systemClock,
}: MemoryConsumerOptions): MemoryConsumer {
  requireText('memoryConsumer', { groupId })
  requireCount('memoryConsumer', { concurrency, ahead })
  requireMs('memoryConsumer', { redeliverMs, drainMs })
  requireMethods('memoryConsumer', 'pipeline', pipeline, ['step'])
  if (topics.length === 0) throw badOption('memoryConsumer', 'topics', 'a list of at least one topic', topics)
  const group = broker.groups(groupId)
  const owned = new Map<PartitionLog, Owned>()
  const before = new Map<PartitionLog, LaneTrack<Item>>()
  let commitDue = false
  let stopping = false
  let crashed = false
  const over = Promise.withResolvers<void>()

  const keyed = lanes<Item>({
    concurrency,
    ahead,
    redeliverMs,
    clock,
    run: ({ log, offset, message, signal }, key, attempt) =>
      pipeline.step({
        message,
        bytes: message.body,
        pipeline: pipeline.name,
        origin: {
          system: 'memory',
          destination: log.topic,
          partition: String(log.partition),
          position: String(offset),
          group: groupId,
        },
        attempt,
        signal,
        raw: { key },
      }),
    onNack: ({ message }, error, attempt) => attemptAfter(error, message.id, attempt),
  })

  const member: Member = {
    topics,
    async revoke() {
      if (owned.size === 0) return
      await drain()
      commit()
      dropAll(new HoldfastError('stopped', 'the partition went to another member'))
    },
    assign({ generation, partitions }: Ownership) {
      changed('joined', { generation, partitions: partitions.length })
      for (const log of partitions) own(log, generation)
      if (!stopping) keyed.resume()
      for (const each of owned.values()) fetch(each)
    },
  }

  function own(log: PartitionLog, generation: number): void {
    const next = group.committed(log)
    const each: Owned = {
      log,
      generation,
      controller: new AbortController(),
      next,
      committed: next,
      track: keyed.open({ after: before.get(log), onDone: () => done(each) }),
    }
    before.set(log, each.track)
    owned.set(log, each)
    const wake = (): void => fetch(each)
    log.readers.add(wake)
    each.controller.signal.addEventListener('abort', () => log.readers.delete(wake), { once: true })
  }

  /** Keeps twice of what may start in memory, and the rest in the broker. */
  function fetch(each: Owned): void {
    const { log, track, controller } = each
    if (stopping) return
    while (!track.closed && track.window.size < ahead * 2) {
      const message = log.read(each.next, clock.now())
      if (message === undefined) return
      keyed.add(track, message.key, { log, offset: each.next++, message, signal: controller.signal })
    }
  }

  function done(each: Owned): void {
    fetch(each)
    if (commitDue) return
    commitDue = true
    clock.after(commitEveryMs, commit)
  }

  function commit(): void {
    commitDue = false
    for (const each of owned.values()) {
      const position = each.track.window.oldest?.offset ?? each.next
      if (crashed || position === each.committed) continue
      group.commit(member, each.generation, each.log, position)
      each.committed = position
    }
  }

  async function drain(): Promise<void> {
    const drained = new AbortController()
    const deadline = sleep(clock, drainMs, drained.signal).catch(() => {})
    await Promise.race([keyed.drain(), deadline])
    drained.abort()
  }

  function dropAll(reason: Error): void {
    for (const { log, track, controller } of owned.values()) {
      keyed.close(track)
      controller.abort(reason)
      owned.delete(log)
    }
  }

  function changed(change: string, detail: Readonly<Record<string, unknown>>): void {
    if (consumerChanged.active()) consumerChanged.publish({ system: 'memory', group: groupId, change, detail })
  }

  return {
    async run(signal) {
      if (signal.aborted) return
      signal.addEventListener('abort', () => over.resolve(), { once: true })
      await group.join(member)
      await over.promise
      if (crashed) return
      stopping = true
      await group.leave(member)
      changed('stopped', {})
    },
    async crash() {
      crashed = true
      stopping = true
      over.resolve()
      dropAll(new HoldfastError('stopped', 'the consumer crashed'))
      await group.evict(member)
      changed('crashed', {})
    },
    health() {
      const all = [...owned.values()]
      const held = all.reduce((sum, { track }) => sum + track.held.size, 0)
      const abandoned = all.reduce((sum, { track }) => sum + track.abandoned, 0)
      return {
        name: `memory ${groupId}`,
        live: true,
        ready: !crashed && abandoned === 0 && !keyed.halted,
        details: {
          partitions: all.length,
          generation: group.generation,
          inFlight: keyed.inFlight,
          buffered: keyed.buffered,
          held,
          abandoned,
        },
      }
    },
  }
}
