import type { Clock } from '../core/clock.ts'
import type { HasHealth } from '../core/health.ts'
import { clockKind, count, having, ms, required, type Kinds } from '../core/options.ts'
import type { Pipeline } from '../core/pipeline.ts'
import type { ConsumerDescription } from './consumer-description.ts'

/** A consumer of any broker. */
export interface Consumer extends HasHealth {
  /**
   * Consumes until the signal aborts. Then it finishes running messages, gives back the rest and leaves. Call it once.
   * @throws HoldfastError `unavailable` when the broker cannot be used at the start, or when the consumer fails for good later;
   * `bad-order` for a second call.
   */
  run(signal: AbortSignal): Promise<void>
  /** Describes the pipeline, and what the broker can do. Print it at the start: `String(consumer.describe())`. */
  describe(): ConsumerDescription
}

/** The options of every consumer. */
export interface ConsumerOptions {
  readonly pipeline: Pipeline
  /** Most messages in flight, at most one per key. @defaultValue 64 */
  readonly concurrency?: number
  /** First redelivery delay in ms, if the error gives none. It doubles with each nack, up to 30 s. @defaultValue 1000 */
  readonly redeliverMs?: number
  /** Longest time in ms for running messages to finish in a hand-over or shutdown. Then their signals abort. @defaultValue 20_000 */
  readonly drainMs?: number
  /**
   * The consumer is not ready after a key was held for this many ms, or a partition made no progress for that long while a
   * handler ran. @defaultValue 300_000
   */
  readonly hungAfterMs?: number
  readonly clock?: Clock
}

export const consumerKinds: Kinds<ConsumerOptions> = {
  pipeline: required(having('step')),
  concurrency: count(),
  redeliverMs: ms(),
  drainMs: ms(),
  hungAfterMs: ms(),
  clock: clockKind,
}

/** What the consumer knows of a delivery beyond the record itself. */
export interface DeliveryContext {
  /** The name of the pipeline. */
  readonly pipeline: string
  readonly group: string
  readonly key: string | null
  readonly attempt: number
  /** Whether nobody can have started it before. @defaultValue `false` */
  readonly first?: boolean
  readonly signal: AbortSignal
  readonly draining: AbortSignal
}
