import type { Clock } from '../../core/clock.ts'
import { HoldfastError } from '../../core/errors.ts'
import type { Lanes } from '../lanes-options.ts'
import { within, type Report, type Run } from '../run.ts'
import type { LaneTrack } from '../track.ts'
import type { Ownership, QueueClient, QueueSession } from './queue-client.ts'
import { Unacked } from './unacked.ts'

/** One message in a lane. */
export interface QueueItem<Raw> {
  readonly owned: SourceOwnership<Raw>
  readonly record: Raw
  id: string
  started: boolean
  done: boolean
}

/** The consumer, as its ownerships see it. */
export interface OwnershipHost<Raw> {
  readonly client: Pick<QueueClient<Raw>, 'keyOf' | 'positions' | 'extendMs'>
  readonly lanes: Lanes<QueueItem<Raw>>
  readonly life: Run
  readonly report: Report
  readonly clock: Clock
  readonly buffer: number
  readonly drainMs: number
  /** Whether messages of that source give way to others. */
  readonly yields: (source: string) => boolean
  /** It is over. */
  forget(owned: SourceOwnership<Raw>): void
}

const leaveMs = 5000

/** One ownership of one queue, subject or link. After its end it acks nothing, and no late call changes anything. */
export class SourceOwnership<Raw> implements Ownership<Raw> {
  readonly source: string
  readonly track: LaneTrack<QueueItem<Raw>>
  readonly progress: { done: number; sinceMs: number }
  done = 0
  /** How many messages were handled, duplicates aside. */
  handled = 0
  readonly #host: OwnershipHost<Raw>
  readonly #session: QueueSession<Raw>
  readonly #controller = new AbortController()
  readonly #unacked: Unacked<Raw, QueueItem<Raw>>
  #isOver = false
  #leaving: Promise<void> | undefined
  /** Places that became free and were not offered to the broker yet. */
  #due = 0
  #cancelExtend = (): void => {}

  constructor(
    host: OwnershipHost<Raw>,
    source: string,
    session: QueueSession<Raw>,
    before: LaneTrack<QueueItem<Raw>> | undefined,
  ) {
    this.#host = host
    this.#session = session
    this.source = source
    this.#unacked = new Unacked(session, (error) => this.#ackFailed(error))
    this.progress = { done: 0, sinceMs: host.clock.now() }
    this.track = host.lanes.open({
      after: before,
      positions: host.client.positions ?? false,
      yields: host.yields(source),
      onDone: (item) => this.#settle(item),
    })
    if (session.extend !== undefined) this.#extendLater()
    session.credit?.(host.buffer)
  }

  get isOver(): boolean {
    return this.#isOver
  }

  get isLeaving(): boolean {
    return this.#leaving !== undefined
  }

  get isActive(): boolean {
    return this.done > 0 || this.#unacked.size > 0
  }

  /** Messages in memory. */
  get size(): number {
    return this.#unacked.size
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  deliver(record: Raw): boolean {
    if (this.#isOver) return false
    const item = { owned: this, record, id: '', started: false, done: false }
    this.#unacked.add(item)
    this.#host.lanes.add(this.track, this.#host.client.keyOf(record), item)
    return true
  }

  lost(error: Error): void {
    if (this.#isOver) return
    this.#end(error)
    this.#host.report('lost', { source: this.source }, error)
  }

  handOver(why: string): Promise<void> {
    return (this.#leaving ??= this.#handOver(why))
  }

  async #handOver(why: string): Promise<void> {
    if (this.#isOver) return
    const { clock, lanes, drainMs, report } = this.#host
    const sinceMs = clock.now()
    await within(clock, drainMs, lanes.drain(this.track))
    if (this.track.running > 0) {
      // Told to stop before the next owner may begin, and given a moment to do so.
      this.#controller.abort(new HoldfastError('stopped', 'the time to finish is over'))
      await within(clock, Math.min(drainMs, 1000), lanes.drain(this.track))
    }
    if (this.isOver) return
    const unfinished = this.track.running
    this.#unacked.flush()
    // From here on nothing is acked: the session flushes what was.
    const rest = this.#unacked.records
    this.#end(new HoldfastError('stopped', 'the source was handed over'))
    await within(clock, leaveMs, this.#leave(rest))
    report('drained', { why, source: this.source, ms: Math.round(clock.now() - sinceMs), unfinished })
  }

  async #leave(rest: readonly Raw[]): Promise<void> {
    try {
      await this.#session.leave(rest)
    } catch (error) {
      this.#host.report('leave-failed', { source: this.source }, error)
    }
  }

  #end(reason: Error): void {
    this.#isOver = true
    this.#cancelExtend()
    this.#host.lanes.close(this.track)
    this.#controller.abort(reason)
    this.#unacked.forget()
    this.#host.forget(this)
  }

  #settle(item: QueueItem<Raw>): void {
    this.done++
    this.#unacked.done(item)
    this.#credit()
  }

  /** The broker has no ack, so the message comes again. */
  #ackFailed(error: unknown): void {
    if (!this.#isOver) this.#host.report('ack-failed', { source: this.source }, error)
  }

  /** In lots: a frame for every message would cost as much as the message. */
  #credit(): void {
    if (this.#session.credit === undefined || this.#leaving !== undefined || this.#isOver) return
    this.#due++
    if (this.#due < Math.max(1, this.#host.buffer / 4)) return
    this.#session.credit(this.#due)
    this.#due = 0
  }

  #extendLater(): void {
    const { clock, client } = this.#host
    const { extendMs = 30_000 } = client
    this.#cancelExtend = clock.after(extendMs / 3, () => {
      for (const record of this.#unacked.records) this.#extend(record, extendMs)
      if (!this.#isOver) this.#extendLater()
    })
  }

  #extend(record: Raw, ms: number): void {
    try {
      this.#session.extend?.(record, ms)
    } catch {
      // The session ends, and says so by `lost`.
    }
  }
}
