import { asError } from '../../core/as-error.ts'
import type { Clock } from '../../core/clock.ts'
import { HoldfastError } from '../../core/errors.ts'
import type { Liveness } from '../liveness.ts'
import { within, type Report, type Run } from '../run.ts'
import type { Assignment, Owned } from './assignment.ts'
import type { Committer, Epoch } from './committer.ts'
import type { Generation, LogBatch, LogClient, LogSession, Place } from './log-client.ts'

/** How long an answer of the group is waited for. */
export const answerMs = 3000

/** The consumer, as its generations see it. */
export interface GenerationHost<Raw> {
  readonly client: Pick<LogClient<Raw>, 'verdictOn'>
  readonly assigned: Assignment<Raw>
  readonly committer: Committer<Raw, LogGeneration<Raw>>
  readonly liveness: Liveness | undefined
  readonly life: Run
  readonly report: Report
  readonly clock: Clock
  readonly buffer: number
  readonly rebalanceMs: number
  /** Fills the gaps, of all partitions or of some, and commits. */
  drain(why: string, some?: readonly Owned<Raw>[]): Promise<void>
  /** The generation is over. Its partitions belong to other members. */
  leave(generation: LogGeneration<Raw>, error: Error): void
}

/** One epoch. After its end no late call changes the present epoch. */
export class LogGeneration<Raw> implements Generation<Raw>, Epoch {
  readonly session: LogSession
  readonly #consumer: GenerationHost<Raw>
  #isOver = false
  /** The drain before the next join, begun once. */
  #finishing: Promise<void> | undefined
  #isHandedBack = false

  constructor(consumer: GenerationHost<Raw>, session: LogSession) {
    this.#consumer = consumer
    this.session = session
  }

  get isOver(): boolean {
    return this.#isOver
  }

  get isFinishing(): boolean {
    return this.#finishing !== undefined
  }

  /** The drain is over and the next join may be on its way: the old membership counts for nothing. */
  get isHandedBack(): boolean {
    return this.#isHandedBack
  }

  close(): void {
    this.#isOver = true
  }

  finished(why: string): Promise<void> {
    return (this.#finishing ??= this.#consumer.drain(why))
  }

  async finish(why: string, places?: readonly Place[]): Promise<void> {
    const { assigned, committer, clock, life, liveness, rebalanceMs } = this.#consumer
    if (this.#isOver || life.isStopping || assigned.size === 0) return
    await within(clock, answerMs, committer.commit())
    if (this.isOver) return
    if (places !== undefined) return this.#finishSome(why, places)
    await this.finished(why)
    this.#isHandedBack = true
    liveness?.excuse(rebalanceMs)
  }

  async #finishSome(why: string, places: readonly Place[]): Promise<void> {
    const { assigned } = this.#consumer
    const given = places.map((place) => assigned.find(place)).filter((owned) => owned !== undefined)
    await this.#consumer.drain(why, given)
  }

  accept(batch: LogBatch<Raw>): 'taken' | 'full' | 'refused' {
    const { assigned, life, buffer, report, committer } = this.#consumer
    const found = assigned.find(batch)
    if (this.#isOver || found === undefined || life.isStopping || this.isFinishing) return 'refused'
    const { owned, gap, wentBackFrom } = assigned.accept(found, batch)
    const { topic, partition } = owned
    if (wentBackFrom !== undefined)
      report('out-of-range', { topic, partition, position: wentBackFrom, from: batch.from })
    if (gap !== undefined) this.session.explain?.(gap)
    if (batch.records.length === 0) committer.soon()
    owned.paused = owned.size > buffer
    return owned.paused ? 'full' : 'taken'
  }

  next(place: Place): number | undefined {
    return this.#isOver ? undefined : this.#consumer.assigned.find(place)?.next
  }

  restarted(place: Place): void {
    const owned = this.#isOver ? undefined : this.#consumer.assigned.find(place)
    if (owned !== undefined) this.#consumer.assigned.restart(owned, new Error('the log begins anew'))
  }

  resume(owned: Owned<Raw>): void {
    if (this.#isOver || this.isFinishing || this.#consumer.life.isStopping) return
    owned.paused = false
    this.session.resume(owned)
  }

  heard(): void {
    if (!this.#isOver) this.#consumer.liveness?.heard()
  }

  rebalancing(): void {
    if (this.#isOver || this.#isHandedBack || this.#consumer.life.isStopping) return
    this.heard()
    void this.finished('heartbeat')
  }

  lost(error: Error): void {
    if (this.#isOver || this.#isHandedBack) return
    const hadSome = this.#consumer.assigned.size > 0
    this.#consumer.leave(this, error)
    if (hadSome) this.#consumer.report('lost', {}, error)
  }

  ended(): void {
    if (!this.#isOver) this.#consumer.leave(this, new HoldfastError('stopped', 'the consumer left the group'))
  }

  /** A commit failed in this generation. */
  failed(error: unknown): void {
    this.#consumer.report('commit-failed', {}, error)
    this.#judge(error)
  }

  async beat(): Promise<void> {
    if (this.#isOver || this.#isHandedBack) return
    try {
      await this.session.beat?.()
    } catch (error) {
      this.#judge(error)
    }
  }

  #judge(error: unknown): void {
    const verdict = this.#consumer.client.verdictOn(error)
    if (verdict === 'rebalancing') this.rebalancing()
    else if (verdict === 'lost') this.lost(asError(error))
  }
}
