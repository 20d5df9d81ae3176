import { HoldfastError } from '../../core/errors.ts'
import { checkOptions, count, having, objects, required, text, type Kinds } from '../../core/options.ts'
import type { Following } from '../../core/parking.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import { consumerKinds, type Consumer, type ConsumerOptions } from '../consumer.ts'
import type { SourceInput } from '../consumer-health.ts'
import { yielding, type Priority } from '../priority.ts'
import { replayKind, type Replaying } from '../replay/plan.ts'
import { notesKind, SharedConsumer, type Notes } from '../shared-consumer.ts'
import type { LaneTrack } from '../track.ts'
import { SourceOwnership, type OwnershipHost, type QueueItem } from './ownership.ts'
import type { Ownership, QueueClient, QueueHost, QueueMembership, QueueSession } from './queue-client.ts'

export interface QueueConsumerOptions<Raw> extends ConsumerOptions, Replaying {
  readonly client: QueueClient<Raw>
  readonly group: string
  /** Un-acked messages that one source may have in memory. @defaultValue 256 */
  readonly buffer?: number
  /** With `client.positions`: how far past its source's first unfinished message a message may start. @defaultValue 256 */
  readonly ahead?: number
  /** Sources whose messages start before those of the others. @defaultValue all in order of arrival */
  readonly priority?: Priority
  /** Remarks on the settings, shown in `health()`. */
  readonly notes?: Notes
}

const kinds: Kinds<QueueConsumerOptions<never>> = {
  client: required(having('open', 'keyOf', 'deliveryOf')),
  group: required(text),
  ...consumerKinds,
  buffer: count(),
  ahead: count(),
  priority: objects,
  notes: notesKind,
  replay: replayKind,
}

/**
 * A consumer over any broker that acks each message by itself. It handles many keys in parallel, and each key in order. It
 * nacks nothing: a waiting message stays un-acked in its lane.
 */
export function queueConsumer<Raw>(options: QueueConsumerOptions<Raw>): Consumer {
  const consumer = new QueueConsumer(checkOptions<QueueConsumerOptions<Raw>>('queueConsumer', options, kinds))
  return {
    run: (signal) => consumer.run(signal),
    describe: () => consumer.describe(),
    health: () => consumer.health(),
  }
}

class QueueConsumer<Raw> extends SharedConsumer<QueueItem<Raw>> implements QueueHost<Raw>, OwnershipHost<Raw> {
  readonly client: QueueClient<Raw>
  readonly buffer: number
  readonly yields: (source: string) => boolean
  protected readonly sourcesAs = 'sources'
  readonly #owned = new Map<string, SourceOwnership<Raw>>()
  /** Of sources given up: a key that still runs there must not start here. */
  readonly #before = new Map<string, LaneTrack<QueueItem<Raw>>>()
  readonly #pipeline: Pipeline
  readonly #group: string
  readonly #certainAfter: number

  constructor(options: QueueConsumerOptions<Raw>) {
    const { client, group, pipeline, buffer = 256, ahead = 256 } = options
    const { floor, yields } = yielding('queueConsumer', options.priority)
    super(client, { ...options, floor })
    this.yields = yields
    this.client = client
    this.buffer = buffer
    this.#pipeline = pipeline
    this.#group = group
    this.#certainAfter = client.positions === true ? 2 * ahead : 0
  }

  /**
   * With positions, as for a log: the owner before may have started messages up to `ahead` past the position that is known of
   * it, and what it had handled comes again as duplicates. So after twice `ahead` handled messages, everything is new.
   */
  #isFirst({ owned, record, started }: QueueItem<Raw>): boolean {
    if (started) return false
    return this.client.positions === true ? owned.handled >= this.#certainAfter : this.client.isFirst?.(record) === true
  }

  protected placeOf({ owned: { source } }: QueueItem<Raw>): Readonly<Record<string, unknown>> {
    return { source }
  }

  protected handle(
    item: QueueItem<Raw>,
    key: string | null,
    attempt: number,
    following: Following | undefined,
  ): Promise<unknown> {
    const { owned, record } = item
    const first = this.#isFirst(item)
    item.started = true
    const pipeline = this.#pipeline
    const read = this.client.deliveryOf(record, owned.source, {
      pipeline: pipeline.name,
      group: this.#group,
      key,
      attempt,
      first,
      signal: owned.signal,
      draining: this.life.draining,
    })
    const delivery = this.marked(owned.source, read, following, this.client.positionOf?.(record))
    item.id = delivery.message.id
    if (owned.handled >= this.#certainAfter) return pipeline.step(delivery)
    return pipeline.step(delivery).then((outcome) => {
      if (outcome === 'handled') owned.handled++
      return outcome
    })
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
    this.fail(error)
  }

  protected check(signal: AbortSignal): Promise<void> | undefined {
    return this.client.check?.(signal)
  }

  protected open(): Promise<QueueMembership> {
    return this.client.open(this)
  }

  protected async finishAll(): Promise<void> {
    await Promise.all([...this.#owned.values()].map((owned) => owned.handOver('stop')))
  }

  protected sources(nowMs: number): readonly SourceInput<QueueItem<Raw>>[] {
    return [...this.#owned.values()].map((owned) => sourceOf(owned, nowMs))
  }

  protected state() {
    return { reasons: this.isOpen ? [] : ['it does not consume yet'], details: {} }
  }
}

function sourceOf<Raw>(owned: SourceOwnership<Raw>, nowMs: number) {
  const { source, track, progress, done, size, isLeaving } = owned
  // Looked at whenever somebody asks: no work for every message.
  if (done !== progress.done || size === 0) Object.assign(progress, { done, sinceMs: nowMs })
  return { name: source, track, buffered: size, stillSinceMs: progress.sinceMs, details: { source, isLeaving } }
}
