import { systemClock, type Clock } from '../../core/clock.ts'
import { HoldfastError } from '../../core/errors.ts'
import type { Health } from '../../core/health.ts'
import { checkOptions, count, having, list, ms, required, text, type Kinds } from '../../core/options.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import { consumerKinds, type Consumer, type ConsumerOptions } from '../consumer.ts'
import { consumerHealth } from '../consumer-health.ts'
import { lanes, type Lanes } from '../lanes.ts'
import { Liveness } from '../liveness.ts'
import { attemptAfter } from '../redelivery.ts'
import { reporter, Run, within, type Report } from '../run.ts'
import { Assignment, type LogItem, type Owned } from './assignment.ts'
import { Committer } from './committer.ts'
import { answerMs, LogGeneration, type GenerationHost } from './generation.ts'
import type { Assigned, Generation, LogClient, LogHost, LogMembership, LogSession } from './log-client.ts'

export interface LogConsumerOptions<Raw> extends ConsumerOptions {
  readonly client: LogClient<Raw>
  readonly group: string
  /** How far past the first unfinished message of its partition one may be started. @defaultValue 256 */
  readonly ahead?: number
  /** Messages of one partition in memory above which it is full; one batch may come on top. @defaultValue 1000 */
  readonly buffer?: number
  /** How soon a position is committed after it moved. @defaultValue 250 */
  readonly commitEveryMs?: number
  /** Without an answer of the group for that long, what runs is told to stop. @defaultValue no such limit */
  readonly sessionMs?: number
  /** How long a join may take, in which no beat is answered. @defaultValue 60_000 */
  readonly rebalanceMs?: number
  /** How often the group must answer. @defaultValue 1000 */
  readonly heartbeatMs?: number
  /** What is worth knowing of the settings, for `health()`. */
  readonly notes?: readonly string[]
}

const kinds: Kinds<LogConsumerOptions<never>> = {
  client: required(having('open', 'offsetOf', 'keyOf', 'deliveryOf', 'verdictOn')),
  group: required(text),
  ...consumerKinds,
  ahead: count(),
  buffer: count(),
  commitEveryMs: ms(),
  sessionMs: ms(),
  rebalanceMs: ms(),
  heartbeatMs: ms(),
  notes: list,
}
const leaveMs = 5000

/**
 * A consumer over any partitioned log: many keys in parallel, each in order. It commits only what is done without a gap,
 * and finishes what it started before every rebalance and before it stops.
 */
export function logConsumer<Raw>(options: LogConsumerOptions<Raw>): Consumer {
  const consumer = new LogConsumer(checkOptions<LogConsumerOptions<Raw>>('logConsumer', options, kinds))
  return { run: (signal) => consumer.run(signal), health: () => consumer.health() }
}

class LogConsumer<Raw> implements LogHost<Raw>, GenerationHost<Raw> {
  readonly client: LogClient<Raw>
  readonly lanes: Lanes<LogItem<Raw>>
  readonly assigned: Assignment<Raw>
  readonly committer: Committer<Raw, LogGeneration<Raw>>
  readonly liveness: Liveness | undefined
  readonly life: Run
  readonly report: Report
  readonly buffer: number
  readonly drainMs: number
  readonly rebalanceMs: number
  readonly clock: Clock
  readonly #name: string
  readonly #pipeline: Pipeline
  readonly #group: string
  readonly #hungAfterMs: number
  readonly #notes: readonly string[]
  readonly #certainAfter: number
  #generation: LogGeneration<Raw> | undefined
  #crashed: Error | undefined

  constructor({
    client,
    group,
    pipeline,
    concurrency = 64,
    ahead = 256,
    buffer = 1000,
    redeliverMs = 1000,
    drainMs = 20_000,
    commitEveryMs = 250,
    sessionMs,
    rebalanceMs = 60_000,
    heartbeatMs = 1000,
    hungAfterMs = 300_000,
    notes = [],
    clock = systemClock,
  }: LogConsumerOptions<Raw>) {
    this.client = client
    this.buffer = buffer
    this.drainMs = drainMs
    this.rebalanceMs = rebalanceMs
    this.clock = clock
    this.#name = `${client.system} ${group}`
    this.#pipeline = pipeline
    this.#group = group
    this.#hungAfterMs = hungAfterMs
    this.#notes = notes
    this.#certainAfter = 2 * ahead
    this.life = new Run(this.#name)
    this.report = reporter(client.system, group)
    this.lanes = lanes<LogItem<Raw>>({
      concurrency,
      ahead,
      redeliverMs,
      clock,
      run: (item, key, attempt) => this.#step(item, key, attempt),
      onNack: (item, error, attempt) => attemptAfter(error, item.id, attempt),
      onHoldsAlone: ({ id, owned: { topic, partition } }, error) =>
        this.report('holds-alone', { messageId: id, topic, partition }, error),
    })
    this.assigned = new Assignment<Raw>({
      lanes: this.lanes,
      client,
      inLanes: ahead,
      onDone: (owned) => this.#done(owned),
      now: () => clock.now(),
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
   * Whoever owned the partition before may have started as many as it may run ahead of what is done, and may have done
   * more than it had committed: those come again as duplicates. Of what is handled here, no more than `ahead` can be past
   * a gap; so after twice as many, everything is new.
   */
  #isFirst({ owned, started }: LogItem<Raw>): boolean {
    return !started && owned.handled >= this.#certainAfter
  }

  #step(item: LogItem<Raw>, key: string | null, attempt: number): Promise<unknown> {
    const { owned, record } = item
    const first = this.#isFirst(item)
    item.started = true
    const pipeline = this.#pipeline
    const delivery = this.client.deliveryOf(record, owned, {
      pipeline: pipeline.name,
      group: this.#group,
      key,
      attempt,
      first,
      signal: owned.controller.signal,
      draining: this.life.draining,
    })
    item.id = delivery.message.id
    if (owned.handled >= this.#certainAfter) return pipeline.step(delivery)
    return pipeline.step(delivery).then((outcome) => {
      if (outcome === 'handled') owned.handled++
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
    if (isFinal)
      this.life.fail(new HoldfastError('unavailable', `${this.client.system}: ${error.message}`, { cause: error }))
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

  async run(signal: AbortSignal): Promise<void> {
    this.life.begin(signal)
    let membership: LogMembership | undefined
    try {
      await this.client.check?.(signal)
      if (signal.aborted) return
      this.liveness?.start()
      membership = await this.client.open(this)
      await this.life.over
    } finally {
      await this.#stop(membership)
    }
  }

  async #stop(membership: LogMembership | undefined): Promise<void> {
    const wasReady = membership !== undefined
    this.life.stop()
    membership?.quiet()
    this.lanes.quit()
    if (wasReady) await (this.#generation?.finished('stop') ?? this.drain('stop'))
    if (this.lanes.inFlight > 0) {
      this.assigned.abort(new HoldfastError('stopped', 'shutting down'))
      await within(this.clock, Math.min(this.drainMs, 1000), this.lanes.drain())
      await this.commitAll()
    }
    this.committer.stop()
    this.liveness?.stop()
    if (membership !== undefined) await within(this.clock, leaveMs, membership.leave())
    this.#generation?.close()
    this.#generation = undefined
    // Also where leaving failed: no timer of a lane may outlive this.
    this.assigned.drop(new HoldfastError('stopped', 'shutting down'))
    if (wasReady) this.report('stopped', { unfinished: this.lanes.inFlight })
  }

  health(): Health {
    const nowMs = this.clock.now()
    const joined = this.#generation !== undefined
    const silent = this.liveness?.isSilent === true
    return consumerHealth({
      name: this.#name,
      lanes: this.lanes,
      sources: [...this.assigned.all()].map((owned) => sourceOf(owned, nowMs)),
      sourcesAs: 'partitions',
      messageIdOf: ({ id }) => id,
      hungAfterMs: this.#hungAfterMs,
      nowMs,
      reasons: [
        ...(joined ? [] : ['it is not a member of the group']),
        ...(this.#crashed === undefined ? [] : [`it crashed: ${this.#crashed.message}`]),
        ...(silent ? ['the group does not answer its heartbeats'] : []),
        ...(this.life.isStopping ? ['it is stopping'] : []),
      ],
      details: { joined, crashed: this.#crashed?.message ?? null, silent, notes: this.#notes },
    })
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
