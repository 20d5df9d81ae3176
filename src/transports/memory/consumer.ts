import { consumerKinds, type Consumer, type ConsumerOptions } from '../../consumer/consumer.ts'
import { systemClock } from '../../core/clock.ts'
import {
  badOption,
  checkOptions,
  count,
  having,
  list,
  objects,
  required,
  text,
  type Kinds,
} from '../../core/options.ts'
import { replayKind, type Replaying } from '../../consumer/replay/plan.ts'
import type { Priority } from '../../consumer/priority.ts'
import { logConsumer } from '../../consumer/log/log-consumer.ts'
import type { MemoryBroker } from './broker.ts'
import { MemoryClient } from './client.ts'

export interface MemoryConsumerOptions extends ConsumerOptions, Replaying {
  readonly broker: MemoryBroker
  readonly groupId: string
  readonly topics: readonly string[]
  /** How many offsets past its partition's first unfinished message a message may start. @defaultValue 256 */
  readonly ahead?: number
  /** Topics whose messages start before those of the others, which get a part of the starts in any case. @defaultValue all in order of arrival */
  readonly priority?: Priority
  /** As for every consumer. @defaultValue 10_000 */
  readonly drainMs?: number
}

const kinds: Kinds<MemoryConsumerOptions> = {
  broker: required(having('groups')),
  groupId: required(text),
  topics: required(list),
  ahead: count(),
  priority: objects,
  replay: replayKind,
  ...consumerKinds,
}

export interface MemoryConsumer extends Consumer {
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
    ahead = 256,
    drainMs = 10_000,
    clock = systemClock,
    ...rest
  } = checkOptions('memoryConsumer', options, kinds)
  if (topics.length === 0) throw badOption('memoryConsumer', 'topics', 'a list of at least one topic', topics)
  const client = new MemoryClient({ group: broker.groups(groupId), topics, batch: ahead, clock })
  const consumer = logConsumer({
    client,
    group: groupId,
    ahead,
    // With the batch that may come on top: twice of what may start in memory, and the rest in the broker.
    buffer: ahead,
    drainMs,
    commitEveryMs,
    clock,
    ...rest,
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
    describe: () => consumer.describe(),
    health: () => consumer.health(),
  }
}
