import { systemClock, type Clock } from '../../core/clock.ts'
import {
  anything,
  badOption,
  checkOptions,
  clockKind,
  having,
  list,
  requireCount,
  required,
  requireMethods,
  requireMs,
  requireText,
  text,
} from '../../core/options.ts'
import type { HasHealth } from '../../core/health.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import { logConsumer } from '../../consumer/log/log-consumer.ts'
import type { MemoryBroker } from './broker.ts'
import { MemoryClient } from './client.ts'

export interface MemoryConsumerOptions {
  readonly broker: MemoryBroker
  readonly groupId: string
  readonly topics: readonly string[]
  readonly pipeline: Pipeline
  /** Most messages in flight, at most one per key. @defaultValue 64 */
  readonly concurrency?: number
  /** How many offsets past its partition's first unfinished message a message may start. @defaultValue 256 */
  readonly ahead?: number
  /** First redelivery delay in ms, if the error gives none. It doubles with each nack, up to 30 s. @defaultValue 1000 */
  readonly redeliverMs?: number
  /** Longest time in ms for started messages to finish in a rebalance or shutdown. Then their signals abort. @defaultValue 10_000 */
  readonly drainMs?: number
  /** The consumer is not ready after a key was held for this many ms. @defaultValue 300_000 */
  readonly hungAfterMs?: number
  readonly clock?: Clock
}

export interface MemoryConsumer extends HasHealth {
  /** Consumes until the signal aborts. Then it finishes started messages and commits. Call it once. */
  run(signal: AbortSignal): Promise<void>
  /** Simulates a killed process: commits nothing more, and the group gives its partitions to other members. */
  crash(): Promise<void>
}

const commitEveryMs = 5

/** Consumes topics of a {@link MemoryBroker} with the same engine as the Kafka consumers. */
export function memoryConsumer(options: MemoryConsumerOptions): MemoryConsumer {
  const {
    broker,
    groupId,
    topics,
    pipeline,
    concurrency = 64,
    ahead = 256,
    redeliverMs = 1000,
    drainMs = 10_000,
    hungAfterMs = 300_000,
    clock = systemClock,
  } = checkOptions('memoryConsumer', options, {
    broker: required(having('groups')),
    groupId: required(text),
    topics: required(list),
    pipeline: required(having('step')),
    concurrency: anything,
    ahead: anything,
    redeliverMs: anything,
    drainMs: anything,
    hungAfterMs: anything,
    clock: clockKind,
  })
  requireText('memoryConsumer', { groupId })
  requireCount('memoryConsumer', { concurrency, ahead })
  requireMs('memoryConsumer', { redeliverMs, drainMs, hungAfterMs })
  requireMethods('memoryConsumer', 'pipeline', pipeline, ['step'])
  if (topics.length === 0) throw badOption('memoryConsumer', 'topics', 'a list of at least one topic', topics)
  const client = new MemoryClient({ group: broker.groups(groupId), topics, batch: ahead, clock })
  const consumer = logConsumer({
    client,
    group: groupId,
    pipeline,
    concurrency,
    ahead,
    // With the batch that may come on top: twice of what may start in memory, and the rest in the broker.
    buffer: ahead,
    redeliverMs,
    drainMs,
    commitEveryMs,
    hungAfterMs,
    clock,
  })
  let hasCrashed = false
  return {
    async run(signal) {
      try {
        await consumer.run(signal)
      } catch (error) {
        // A killed process says nothing.
        if (!hasCrashed) throw error
      }
    },
    async crash() {
      hasCrashed = true
      await client.crash()
    },
    health: () => consumer.health(),
  }
}
