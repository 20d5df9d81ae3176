import type { Clock } from '../../core/clock.ts'
import type { Delivery } from '../../core/delivery.ts'
import { HoldfastError } from '../../core/errors.ts'
import type { HasHealth, Health } from '../../core/health.ts'
import type { Bytes } from '../../core/message.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import type { DeliveryContext } from '../consumer.ts'
import { lanes } from '../lanes.ts'
import type { Lanes } from '../lanes-options.ts'
import { attemptAfter } from '../redelivery.ts'
import type { LaneTrack } from '../track.ts'

/** A message of a service that consumes by itself. */
export interface PlainRecord {
  readonly message: { readonly id: string; readonly key: string | null }
}

export interface PlainFormOptions<Raw extends PlainRecord> {
  readonly system: string
  readonly pipeline: Pipeline
  /** The queue or the consumer, for `health()` and as the delivery's group. */
  readonly source: string
  readonly concurrency: number
  readonly redeliverMs: number
  readonly signal: AbortSignal | undefined
  readonly clock: Clock
  readonly deliveryOf: (record: Raw, context: DeliveryContext) => Delivery<Bytes>
  readonly ack: (record: Raw) => void
  /** Keeps what is in memory from being redelivered, at a third of this time. */
  readonly extend?: { readonly everyMs: number; readonly one: (record: Raw) => void }
}

/** What a handler of single acks offers besides being called. */
export interface PlainHandle extends HasHealth {
  /** Resolves when nothing runs any more that was started before the signal's abort. */
  drained(): Promise<void>
}

/**
 * Lanes for a service that consumes by itself: a message is acked when it is done, and nothing is nacked. What fails waits
 * in memory, un-acked, with its key behind it.
 */
export class PlainForm<Raw extends PlainRecord> implements PlainHandle {
  readonly #options: PlainFormOptions<Raw>
  readonly #lanes: Lanes<Raw>
  readonly #track: LaneTrack<Raw>
  readonly #ended = new AbortController()
  /** In memory and not acked. */
  readonly #records = new Set<Raw>()
  #problem: string | undefined
  #isExtending = false

  constructor(options: PlainFormOptions<Raw>) {
    const { concurrency, redeliverMs, clock, signal } = options
    this.#options = options
    this.#lanes = lanes<Raw>({
      concurrency,
      ahead: Number.MAX_SAFE_INTEGER,
      redeliverMs,
      clock,
      run: (record, key, attempt) => this.#step(record, key, attempt),
      onNack: ({ message }, error, attempt) => attemptAfter(error, message.id, attempt),
    })
    this.#track = this.#lanes.open({ positions: false, onDone: (record) => this.#done(record) })
    if (signal?.aborted === true) void this.drained()
    else signal?.addEventListener('abort', () => void this.drained(), { once: true })
  }

  add(record: Raw): void {
    if (this.#problem !== undefined) return
    this.#records.add(record)
    this.#lanes.add(this.#track, record.message.key, record)
    if (!this.#isExtending) this.#extendLater()
  }

  /** Its messages are somebody else's from now on: nothing is acked any more, and what runs is told to stop. */
  end(why: string): void {
    this.#problem ??= why
    this.#records.clear()
    this.#lanes.close(this.#track)
    this.#ended.abort(new HoldfastError('stopped', why))
  }

  drained(): Promise<void> {
    this.#lanes.quit()
    return this.#lanes.drain()
  }

  health(): Health {
    const { system, pipeline, source } = this.#options
    const { held, abandoned } = this.#track
    return {
      name: `${system} ${pipeline.name}`,
      live: true,
      ready: this.#problem === undefined && abandoned === 0 && !this.#lanes.halted,
      details: { source, problem: this.#problem, inFlight: this.#lanes.inFlight, held: held.size, abandoned },
    }
  }

  #step(record: Raw, key: string | null, attempt: number): Promise<unknown> {
    const { pipeline, source, signal, deliveryOf } = this.#options
    const context = {
      pipeline: pipeline.name,
      group: source,
      key,
      attempt,
      signal: this.#ended.signal,
      draining: signal ?? this.#ended.signal,
    }
    return pipeline.step(deliveryOf(record, context))
  }

  #done(record: Raw): void {
    this.#records.delete(record)
    this.#options.ack(record)
  }

  #extendLater(): void {
    const { extend, clock } = this.#options
    this.#isExtending = extend !== undefined && this.#records.size > 0
    if (extend === undefined || !this.#isExtending) return
    clock.after(
      extend.everyMs,
      () => {
        for (const record of this.#records) extend.one(record)
        this.#extendLater()
      },
      true,
    )
  }
}
