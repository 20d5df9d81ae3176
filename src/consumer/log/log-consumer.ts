import { HoldfastError } from '../../core/errors.ts'
import { checkOptions, count, having, ms, objects, required, text, type Kinds } from '../../core/options.ts'
import type { Following } from '../../core/parking.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import { consumerKinds, type Consumer, type ConsumerOptions } from '../consumer.ts'
import type { SourceInput } from '../consumer-health.ts'
import { Liveness } from '../liveness.ts'
import { replayKind, type Replaying } from '../replay/plan.ts'
import { within } from '../run.ts'
import { notesKind, SharedConsumer, type Notes } from '../shared-consumer.ts'
import { Assignment, type LogItem, type Owned } from './assignment.ts'
import { Committer } from './committer.ts'
import { answerMs, LogGeneration, type GenerationHost } from './generation.ts'
import type { Assigned, Generation, LogClient, LogHost, LogMembership, LogSession } from './log-client.ts'
import { yielding, type Priority } from '../priority.ts'
import { requireRoom } from './settings.ts'

/** The settings of a consumer over a log, for any client. */
export interface LogSettings extends ConsumerOptions, Replaying {
  /** How many offsets past its partition's first unfinished message a message may start. @defaultValue 256 */
  readonly ahead?: number
  /** Messages of one partition in memory at which its fetches pause. One more batch may arrive. @defaultValue 1000 */
  readonly buffer?: number
  /** Longest time in ms from a moved position to its commit. @defaultValue 250 */
  readonly commitEveryMs?: number
  /** Running handlers are told to stop after this many ms without an answer of the group. @defaultValue no limit */
  readonly sessionMs?: number
  /** Longest join in ms. No heartbeat is answered meanwhile. @defaultValue 60_000 */
  readonly rebalanceMs?: number
  /** Interval of the heartbeats in ms. @defaultValue 1000 */
  readonly heartbeatMs?: number
  /**
   * Topics whose messages start before those of the others, which get a part of the starts in any case.
   * @defaultValue all in order of arrival
   */
  readonly priority?: Priority
}

export const logKinds: Kinds<LogSettings> = {
  ...consumerKinds,
  ahead: count(),
  buffer: count(),
  commitEveryMs: ms(),
  sessionMs: ms(),
  rebalanceMs: ms(),
  heartbeatMs: ms(),
  priority: objects,
  replay: replayKind,
}

export interface LogConsumerOptions<Raw> extends LogSettings {
  readonly client: LogClient<Raw>
  readonly group: string
  /** Remarks on the settings, shown in `health()`. */
  readonly notes?: Notes
}

const kinds: Kinds<LogConsumerOptions<never>> = {
  client: required(having('open', 'offsetOf', 'keyOf', 'deliveryOf', 'verdictOn')),
  group: required(text),
  ...logKinds,
  notes: notesKind,
}

/**
 * A consumer over any partitioned log. It handles many keys in parallel, and each key in order. It commits an offset only
 * when all earlier messages are done. It finishes started messages before every rebalance and before it stops.
 */
export function logConsumer<Raw>(options: LogConsumerOptions<Raw>): Consumer {
  const consumer = new LogConsumer(checkOptions<LogConsumerOptions<Raw>>('logConsumer', options, kinds))
  return {
    run: (signal) => consumer.run(signal),
    describe: () => consumer.describe(),
    health: () => consumer.health(),
  }
}

class LogConsumer<Raw> extends SharedConsumer<LogItem<Raw>> implements LogHost<Raw>, GenerationHost<Raw> {
  readonly client: LogClient<Raw>
  readonly assigned: Assignment<Raw>
  readonly committer: Committer<Raw, LogGeneration<Raw>>
  readonly liveness: Liveness | undefined
  readonly buffer: number
  readonly rebalanceMs: number
  protected readonly sourcesAs = 'partitions'
  readonly #pipeline: Pipeline
  readonly #group: string
  readonly #certainAfter: number
  #generation: LogGeneration<Raw> | undefined
  #crashed: Error | undefined

  constructor(options: LogConsumerOptions<Raw>) {
    const { client, group, pipeline, ahead = 256, buffer = 1000, rebalanceMs = 60_000 } = options
    const { commitEveryMs = 250, sessionMs, heartbeatMs = 1000 } = options
    requireRoom('logConsumer', ahead, buffer)
    const { floor, yields } = yielding('logConsumer', options.priority)
    super(client, { ...options, floor })
    const { clock } = this
    this.client = client
    this.buffer = buffer
    this.rebalanceMs = rebalanceMs
    this.#pipeline = pipeline
    this.#group = group
    this.#certainAfter = 2 * ahead
    this.assigned = new Assignment<Raw>({
      lanes: this.lanes,
      client,
      inLanes: ahead,
      onDone: (owned) => this.#done(owned),
      now: () => clock.now(),
      yields,
    })
    this.committer = new Committer<Raw, LogGeneration<Raw>>({
      system: client.system,
      assigned: this.assigned,
      everyMs: commitEveryMs,
      clock,
      epoch: () => (this.#generation?.isHandedBack === true ? undefined : this.#generation),
      mayCommit: (owned, { session, isFinishing }) => isFinishing || session.mayCommit?.(owned) !== false,
      failed: (error, generation) => generation.failed(error),
    })
    this.liveness =
      sessionMs === undefined
        ? undefined
        : new Liveness({
            clock,
            everyMs: Math.max(heartbeatMs / 2, 50),
            sessionMs,
            onTick: () => void this.#generation?.beat(),
            onSilence: (error) => this.#silent(error),
            onHeard: () => this.#heard(),
          })
  }

  /**
   * The member that owned the partition before may have handled messages that it had not committed, up to `ahead` past its
   * commit. They come again as duplicates. Of the messages handled here, at most `ahead` are past a gap. So after twice
   * `ahead` messages, everything is new.
   */
  #isFirst({ owned, started }: LogItem<Raw>): boolean {
    return !started && owned.handled >= this.#certainAfter
  }

  protected placeOf({ owned: { topic, partition } }: LogItem<Raw>): Readonly<Record<string, unknown>> {
    return { topic, partition }
  }

  protected handle(
    item: LogItem<Raw>,
    key: string | null,
    attempt: number,
    following: Following | undefined,
  ): Promise<unknown> {
    const { owned, record } = item
    const first = this.#isFirst(item)
    item.started = true
    const pipeline = this.#pipeline
    const read = this.client.deliveryOf(record, owned, {
      pipeline: pipeline.name,
      group: this.#group,
      key,
      attempt,
      first,
      signal: owned.controller.signal,
      draining: this.life.draining,
    })
    const delivery = this.marked(`${owned.topic}/${owned.partition}`, read, following)
    item.id = delivery.message.id
    if (owned.handled >= this.#certainAfter) return pipeline.step(delivery)
    return pipeline.step(delivery).then((outcome) => {
      if (outcome === 'handled') owned.handled++
      return outcome
    })
  }

  #done(owned: Owned<Raw>): void {
    this.committer.soon()
    if (owned.paused && owned.size <= this.buffer / 2) this.#generation?.resume(owned)
  }

  #silent(error: Error): void {
    this.report('silent', {}, error)
    void this.lanes.drain()
    this.assigned.abort(error)
  }

  #heard(): void {
    if (!this.life.isStopping && this.#generation?.isFinishing !== true) this.lanes.resume()
  }

  joined(member: string, owned: readonly Assigned[], session: LogSession): Generation<Raw> {
    this.#generation?.close()
    const reason = new HoldfastError('stopped', 'the partition went to another member')
    const fresh = this.assigned.join(member, owned, reason)
    const generation = new LogGeneration<Raw>(this, session)
    this.#generation = generation
    this.#crashed = undefined
    // What it owned before may have been somebody else's for a moment.
    for (const each of this.assigned.all()) each.handled = 0
    this.liveness?.heard()
    if (!this.life.isStopping) {
      // A pause outlives losing and regaining a partition.
      for (const each of this.assigned.all()) if (each.size <= this.buffer) generation.resume(each)
      this.lanes.resume()
    }
    this.committer.soon()
    this.report('joined', { memberId: member, partitions: this.assigned.size, added: fresh.length })
    return generation
  }

  leave(generation: LogGeneration<Raw>, error: Error): void {
    generation.close()
    this.#generation = undefined
    this.assigned.drop(error)
  }

  crashed(error: Error, isFinal: boolean): void {
    const reason = new HoldfastError('stopped', 'the consumer left the group')
    if (this.#generation !== undefined) this.leave(this.#generation, reason)
    this.#crashed = error
    this.report('crashed', { restart: !isFinal }, error)
    if (isFinal) this.fail(error)
  }

  /** Bounded, since a broker that is gone may never answer. */
  async commitAll(): Promise<void> {
    // One that is under way may have left before the last of these were done.
    const all = this.committer.commit().then(() => this.committer.commit())
    await within(this.clock, answerMs, all)
  }

  async drain(why: string, some?: readonly Owned<Raw>[]): Promise<void> {
    const sinceMs = this.clock.now()
    const drained =
      some === undefined ? this.lanes.drain() : Promise.all(some.map(({ track }) => this.lanes.drain(track)))
    await within(this.clock, this.drainMs, drained)
    await this.commitAll()
    this.report('drained', {
      why,
      ms: Math.round(this.clock.now() - sinceMs),
      unfinished: this.lanes.inFlight,
    })
  }

  protected check(signal: AbortSignal): Promise<void> | undefined {
    return this.client.check?.(signal)
  }

  protected open(): Promise<LogMembership> {
    this.liveness?.start()
    return this.client.open(this)
  }

  protected async finishAll(wasOpen: boolean): Promise<void> {
    if (wasOpen) await (this.#generation?.finished('stop') ?? this.drain('stop'))
    if (this.lanes.inFlight > 0) {
      this.assigned.abort(new HoldfastError('stopped', 'shutting down'))
      await within(this.clock, Math.min(this.drainMs, 1000), this.lanes.drain())
      await this.commitAll()
    }
    this.committer.stop()
    this.liveness?.stop()
  }

  protected override ended(): void {
    this.#generation?.close()
    this.#generation = undefined
    // Also where leaving failed: no timer of a lane may outlive this.
    this.assigned.drop(new HoldfastError('stopped', 'shutting down'))
  }

  protected sources(nowMs: number): readonly SourceInput<LogItem<Raw>>[] {
    return [...this.assigned.all()].map((owned) => sourceOf(owned, nowMs))
  }

  protected state() {
    const joined = this.#generation !== undefined
    const silent = this.liveness?.isSilent === true
    const crashed = this.#crashed?.message ?? null
    return {
      reasons: [
        ...(joined ? [] : ['it is not a member of the group']),
        ...(crashed === null ? [] : [`it crashed: ${crashed}`]),
        ...(silent ? ['the group does not answer its heartbeats'] : []),
      ],
      details: { joined, crashed, silent },
    }
  }
}

function sourceOf<Raw>(owned: Owned<Raw>, nowMs: number) {
  const { topic, partition, track, progress, paused, position, size } = owned
  // Looked at whenever somebody asks: no work for every message.
  if (position !== progress.position || track.window.size === 0) Object.assign(progress, { position, sinceMs: nowMs })
  return {
    name: `${topic}/${partition}`,
    track,
    buffered: size,
    stillSinceMs: progress.sinceMs,
    details: { topic, partition, position: position ?? null, paused },
  }
}
