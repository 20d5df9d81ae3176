import { systemClock, type Clock } from '../../core/clock.ts'
import { HoldfastError } from '../../core/errors.ts'
import type { Health } from '../../core/health.ts'
import { checkOptions, count, having, list, required, text, type Kinds } from '../../core/options.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import { consumerKinds, type Consumer, type ConsumerOptions } from '../consumer.ts'
import { consumerHealth } from '../consumer-health.ts'
import { lanes, type Lanes } from '../lanes.ts'
import { attemptAfter } from '../redelivery.ts'
import { reporter, Run, within, type Report } from '../run.ts'
import type { LaneTrack } from '../track.ts'
import { SourceOwnership, type OwnershipHost, type QueueItem } from './ownership.ts'
import type { Ownership, QueueClient, QueueHost, QueueMembership, QueueSession } from './queue-client.ts'

export interface QueueConsumerOptions<Raw> extends ConsumerOptions {
  readonly client: QueueClient<Raw>
  readonly group: string
  /** Un-acked messages that one source may have in memory. @defaultValue 256 */
  readonly buffer?: number
  /** With `client.positions`: how far past the first unfinished message of its source one may be started. @defaultValue 256 */
  readonly ahead?: number
  /** What is worth knowing of the settings, for `health()`. */
  readonly notes?: readonly string[]
}

const kinds: Kinds<QueueConsumerOptions<never>> = {
  client: required(having('open', 'keyOf', 'deliveryOf')),
  group: required(text),
  ...consumerKinds,
  buffer: count(),
  ahead: count(),
  notes: list,
}
const leaveMs = 5000

/**
 * A consumer over any broker that acks each message by itself: many keys in parallel, each in order, and nothing is
 * nacked. A message that waits stays un-acked in its lane.
 */
export function queueConsumer<Raw>(options: QueueConsumerOptions<Raw>): Consumer {
  const consumer = new QueueConsumer(checkOptions<QueueConsumerOptions<Raw>>('queueConsumer', options, kinds))
  return { run: (signal) => consumer.run(signal), health: () => consumer.health() }
}

class QueueConsumer<Raw> implements QueueHost<Raw>, OwnershipHost<Raw> {
  readonly client: QueueClient<Raw>
  readonly lanes: Lanes<QueueItem<Raw>>
  readonly life: Run
  readonly report: Report
  readonly clock: Clock
  readonly buffer: number
  readonly drainMs: number
  readonly #owned = new Map<string, SourceOwnership<Raw>>()
  /** Of sources given up: a key that still runs there must not start here. */
  readonly #before = new Map<string, LaneTrack<QueueItem<Raw>>>()
  readonly #name: string
  readonly #pipeline: Pipeline
  readonly #group: string
  readonly #hungAfterMs: number
  readonly #notes: readonly string[]
  #membership: QueueMembership | undefined

  constructor({
    client,
    group,
    pipeline,
    concurrency = 64,
    buffer = 256,
    ahead = 256,
    redeliverMs = 1000,
    drainMs = 20_000,
    hungAfterMs = 300_000,
    notes = [],
    clock = systemClock,
  }: QueueConsumerOptions<Raw>) {
    this.client = client
    this.buffer = buffer
    this.drainMs = drainMs
    this.clock = clock
    this.#name = `${client.system} ${group}`
    this.#pipeline = pipeline
    this.#group = group
    this.#hungAfterMs = hungAfterMs
    this.#notes = notes
    this.life = new Run(this.#name)
    this.report = reporter(client.system, group)
    this.lanes = lanes<QueueItem<Raw>>({
      concurrency,
      ahead,
      redeliverMs,
      clock,
      run: (item, key, attempt) => this.#step(item, key, attempt),
      onNack: (item, error, attempt) => attemptAfter(error, item.id, attempt),
      onHoldsAlone: ({ id, owned: { source } }, error) => this.report('holds-alone', { messageId: id, source }, error),
    })
  }

  #step(item: QueueItem<Raw>, key: string | null, attempt: number): Promise<unknown> {
    const { owned, record } = item
    const pipeline = this.#pipeline
    const delivery = this.client.deliveryOf(record, owned.source, {
      pipeline: pipeline.name,
      group: this.#group,
      key,
      attempt,
      signal: owned.signal,
      draining: this.life.draining,
    })
    item.id = delivery.message.id
    return pipeline.step(delivery)
  }

  own(source: string, session: QueueSession<Raw>): Ownership<Raw> {
    this.#owned.get(source)?.lost(new HoldfastError('stopped', 'a new ownership of the source began'))
    const owned = new SourceOwnership<Raw>(this, source, session, this.#before.get(source))
    this.#before.set(source, owned.track)
    this.#owned.set(source, owned)
    this.report('joined', { source })
    // It began while the consumer was told to stop: it goes back at once.
    if (this.life.isStopping) void owned.handOver('stop')
    return owned
  }

  forget(owned: SourceOwnership<Raw>): void {
    if (this.#owned.get(owned.source) === owned) this.#owned.delete(owned.source)
  }

  failed(error: Error): void {
    this.report('crashed', { restart: false }, error)
    this.life.fail(new HoldfastError('unavailable', `${this.client.system}: ${error.message}`, { cause: error }))
  }

  async run(signal: AbortSignal): Promise<void> {
    this.life.begin(signal)
    try {
      await this.client.check?.(signal)
      if (signal.aborted) return
      this.#membership = await this.client.open(this)
      await this.life.over
    } finally {
      await this.#stop()
    }
  }

  async #stop(): Promise<void> {
    this.life.stop()
    this.#membership?.quiet()
    this.lanes.quit()
    await Promise.all([...this.#owned.values()].map((owned) => owned.handOver('stop')))
    const membership = this.#membership
    if (membership !== undefined) await within(this.clock, leaveMs, membership.leave())
    if (membership !== undefined) this.report('stopped', { unfinished: this.lanes.inFlight })
  }

  health(): Health {
    const nowMs = this.clock.now()
    const problem = this.#membership === undefined ? 'it does not consume yet' : this.#membership.problem?.()
    return consumerHealth({
      name: this.#name,
      lanes: this.lanes,
      sources: [...this.#owned.values()].map((owned) => sourceOf(owned, nowMs)),
      sourcesAs: 'sources',
      messageIdOf: ({ id }) => id,
      hungAfterMs: this.#hungAfterMs,
      nowMs,
      reasons: [...(problem === undefined ? [] : [problem]), ...(this.life.isStopping ? ['it is stopping'] : [])],
      details: { notes: this.#notes },
    })
  }
}

function sourceOf<Raw>(owned: SourceOwnership<Raw>, nowMs: number) {
  const { source, track, progress, done, size, isLeaving } = owned
  // Looked at whenever somebody asks: no work for every message.
  if (done !== progress.done || size === 0) Object.assign(progress, { done, sinceMs: nowMs })
  return { name: source, track, buffered: size, stillSinceMs: progress.sinceMs, details: { source, isLeaving } }
}
