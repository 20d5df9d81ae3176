import type { ReplayOptions } from '../../consumer/replay/options.ts'
import type { ReplayPlan } from '../../consumer/replay/plan.ts'
import type { ReplayReport } from '../../consumer/replay/replay.ts'
import type { Health } from '../../core/health.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import type { Publisher } from '../../core/publisher.ts'

/** What a transport can do; the suite leaves out what cannot be asked of it. */
export interface TransportFeatures {
  /** `key`: a message that waits holds its key only. `partition`: it holds its partition. `none`: no order at all. */
  readonly order: 'key' | 'partition' | 'none'
  /** Consumers of one group share the messages; every group gets all of them. */
  readonly groups: boolean
  /** Messages outlive the broker's process. */
  readonly persistence: boolean
  /** A nack's wait is kept. */
  readonly delay: boolean
  /** A topic has partitions that move between the members of a group. */
  readonly partitions: boolean
  /** A group can be moved back: `TestTransport.replay` does it. @defaultValue false */
  readonly replay?: boolean
  /** Consumers have `cut()`. @defaultValue false */
  readonly reconnects?: boolean
  /** The largest value of one header that the broker carries. @defaultValue 65_536 */
  readonly maxHeaderBytes?: number
}

/** A transport with a broker behind it, for one test. */
export interface TestTransport {
  readonly publisher: Publisher
  /** A topic that no other test uses. */
  readonly createTopic: (partitions: number) => Promise<string>
  consumer(options: TestConsumerOptions): TestConsumer
  /** Moves a group back. */
  replay?(
    of: { readonly topics: readonly string[]; readonly groupId: string },
    options: ReplayOptions,
  ): Promise<ReplayReport>
  dispose(): Promise<void>
}

export interface TestConsumerOptions {
  readonly topics: readonly string[]
  readonly groupId: string
  readonly pipeline: Pipeline
  readonly concurrency: number
  readonly drainMs: number
  readonly redeliverMs: number
  /** Where the group was moved back. */
  readonly replay?: ReplayPlan
}

export interface TestConsumer {
  /** Resolves when it stopped in good order after the signal's abort. */
  run(signal: AbortSignal): Promise<void>
  /** Ends it as a killed process ends: nothing is said to the broker. */
  crash(): Promise<void>
  /** Cuts its connections to the broker, once. It is up to the consumer to come back. */
  cut?(): Promise<void>
  /** `details.buffered` counts the messages that it holds in memory. */
  health(): Health
}

export interface TransportUnderTest {
  readonly features: TransportFeatures
  /** The most messages that one consumer may hold in memory, in its default settings. */
  readonly maxBuffered: number
  create(): Promise<TestTransport>
}
