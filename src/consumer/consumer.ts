import type { Clock } from '../core/clock.ts'
import type { HasHealth } from '../core/health.ts'
import { clockKind, count, having, ms, required, type Kinds } from '../core/options.ts'
import type { Pipeline } from '../core/pipeline.ts'

/** A consumer of any broker. */
export interface Consumer extends HasHealth {
  /**
   * Consumes until the signal aborts; then finishes what runs, gives back the rest and leaves. Once for each consumer.
   * @throws HoldfastError `unavailable` where the broker cannot be used at the start, or is beyond help later on;
   * `bad-order` for a second call.
   */
  run(signal: AbortSignal): Promise<void>
}

/** What consumers of all brokers take. */
export interface ConsumerOptions {
  readonly pipeline: Pipeline
  /** Messages in flight at once; those of one key never are. @defaultValue 64 */
  readonly concurrency?: number
  /** The first wait after a failure that does not say when; doubled every time, at most 30 s. @defaultValue 1000 */
  readonly redeliverMs?: number
  /** How long what runs may go on in a hand-over or at the end; then its signal aborts. @defaultValue 20_000 */
  readonly drainMs?: number
  /**
   * The consumer is not ready once a key was held for that long, or a partition stood still for that long while a
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
