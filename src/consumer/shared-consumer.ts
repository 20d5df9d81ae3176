import { systemClock, type Clock } from '../core/clock.ts'
import { HoldfastError } from '../core/errors.ts'
import type { Health } from '../core/health.ts'
import { callback, either, list, type Kind } from '../core/options.ts'
import type { Consumer, ConsumerOptions } from './consumer.ts'
import { describeConsumer, type ConsumerDescription } from './consumer-description.ts'
import type { Features } from './features.ts'
import { consumerHealth, type SourceInput } from './consumer-health.ts'
import type { Delivery } from '../core/delivery.ts'
import type { Bytes } from '../core/message.ts'
import type { Following } from '../core/parking.ts'
import type { Pipeline } from '../core/pipeline.ts'
import { takesFollowers } from './followers.ts'
import { lanes } from './lanes.ts'
import type { Lanes } from './lanes-options.ts'
import { ReplayMark, type Replaying } from './replay/plan.ts'
import { attemptAfter } from './redelivery.ts'
import { reporter, Run, within, type Report } from './run.ts'

/** What is worth knowing of the settings or of what was seen, for `health()`. A function is asked each time. */
export type Notes = readonly string[] | (() => Iterable<string>)

export const notesKind: Kind = either(list, callback)

export interface SharedOptions extends ConsumerOptions, Replaying {
  readonly group: string
  readonly ahead?: number
  /** The part of the starts of topics without priority. */
  readonly floor?: number | undefined
  readonly notes?: Notes
}

/** What both kinds of client open. */
export interface Membership {
  problem?(): string | undefined
  quiet(): void
  leave(): Promise<void>
}

interface Broker {
  readonly system: string
  readonly features?: Features
}

interface SharedItem {
  readonly id: string
}

const leaveMs = 5000
const isParked = (outcome: unknown): boolean => outcome === 'parked'

/** What a consumer of positions and a consumer of single acks have in common: lanes, one run, one stop, health. */
export abstract class SharedConsumer<Item extends SharedItem> implements Consumer {
  readonly lanes: Lanes<Item>
  readonly life: Run
  readonly report: Report
  readonly clock: Clock
  readonly drainMs: number
  readonly #name: string
  readonly #system: string
  readonly #features: Features | undefined
  readonly #pipeline: Pipeline
  readonly #hungAfterMs: number
  readonly #notes: Notes
  readonly #replay: ReplayMark | undefined
  #membership: Membership | undefined

  constructor({ system, features }: Broker, options: SharedOptions) {
    const { group, ahead = 256, concurrency = 64, redeliverMs = 1000, clock = systemClock, notes = [] } = options
    this.#system = system
    this.#features = features
    this.#pipeline = options.pipeline
    this.#name = `${system} ${group}`
    this.#hungAfterMs = options.hungAfterMs ?? 300_000
    this.#notes = notes
    this.#replay = options.replay && new ReplayMark(this.#name, group, options.replay)
    this.clock = clock
    this.drainMs = options.drainMs ?? 20_000
    this.life = new Run(this.#name)
    this.report = reporter(system, group)
    this.lanes = lanes<Item>({
      concurrency,
      ahead,
      redeliverMs,
      clock,
      floor: options.floor,
      run: (item, key, attempt, following) => this.handle(item, key, attempt, following),
      putsAway: takesFollowers(options.pipeline) ? isParked : undefined,
      onNack: (item, error, attempt) => attemptAfter(error, item.id, attempt),
      onHoldsAlone: (item, error) => this.report('holds-alone', { messageId: item.id, ...this.placeOf(item) }, error),
    })
  }

  /** Hands a message to the pipeline. A rejection is a nack. */
  protected abstract handle(
    item: Item,
    key: string | null,
    attempt: number,
    following: Following | undefined,
  ): Promise<unknown>
  protected abstract placeOf(item: Item): Readonly<Record<string, unknown>>
  /** Rejects where the settings or the broker allow no start. */
  protected abstract check(signal: AbortSignal): Promise<void> | undefined
  protected abstract open(): Promise<Membership>
  /** Finishes what was started, as far as `drainMs` allows. `wasOpen`: the client consumed by then. */
  protected abstract finishAll(wasOpen: boolean): Promise<void>
  protected abstract sources(nowMs: number): readonly SourceInput<Item>[]
  protected abstract readonly sourcesAs: string
  /** What its kind adds to health: reasons that it is not ready, and details. */
  protected abstract state(): {
    readonly reasons: readonly string[]
    readonly details: Readonly<Record<string, unknown>>
  }

  async run(signal: AbortSignal): Promise<void> {
    this.life.begin(signal)
    try {
      await this.check(signal)
      if (signal.aborted) return
      this.#membership = await this.open()
      await this.life.over
    } finally {
      await this.#stop()
    }
  }

  /** The delivery, marked where it comes again by a replay, and where it was started together with others. */
  protected marked(
    partition: string,
    delivery: Delivery<Bytes>,
    following: Following | undefined,
    position?: number,
  ): Delivery<Bytes> {
    const marked = this.#replay === undefined ? delivery : this.#replay.on(partition, delivery, position)
    return following === undefined ? marked : { ...marked, following }
  }

  /** Whether the client consumes, or tries to. */
  protected get isOpen(): boolean {
    return this.#membership !== undefined
  }

  /** Everything is over: no timer may be left. */
  protected ended(): void {
    // For those that keep something until then.
  }

  protected fail(error: Error): void {
    this.life.fail(new HoldfastError('unavailable', `${this.#system}: ${error.message}`, { cause: error }))
  }

  async #stop(): Promise<void> {
    const membership = this.#membership
    this.life.stop()
    membership?.quiet()
    this.lanes.quit()
    await this.finishAll(membership !== undefined)
    if (membership !== undefined) await within(this.clock, leaveMs, membership.leave())
    this.ended()
    if (membership !== undefined) this.report('stopped', { unfinished: this.lanes.inFlight })
  }

  describe(): ConsumerDescription {
    return describeConsumer(this.#name, this.#pipeline.describe(), this.#features)
  }

  health(): Health {
    const nowMs = this.clock.now()
    const { reasons, details } = this.state()
    const problem = this.#membership?.problem?.()
    return consumerHealth({
      name: this.#name,
      lanes: this.lanes,
      sources: this.sources(nowMs),
      sourcesAs: this.sourcesAs,
      messageIdOf: ({ id }) => id,
      hungAfterMs: this.#hungAfterMs,
      nowMs,
      reasons: [
        ...reasons,
        ...(problem === undefined ? [] : [problem]),
        ...(this.life.isStopping ? ['it is stopping'] : []),
      ],
      details: { ...details, notes: [...(typeof this.#notes === 'function' ? this.#notes() : this.#notes)] },
    })
  }
}
