import { sleep, type Clock } from '../../core/clock.ts'
import type { Delivery, Outcome } from '../../core/delivery.ts'
import { attemptsBefore, isAbandoned, isRetryLater, textOf } from '../../core/errors.ts'
import { withHeaders, type Bytes, type Message } from '../../core/message.ts'
import type { ParkingTerms } from '../../core/parking.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import { generationOf, redrivenFrom, redriveHeader, redriveText } from '../../core/redrive.ts'
import { plainText } from '../../core/text.ts'
import { unpack } from './envelope.ts'
import type { LaneLease, ParkedName, ParkedRow, ParkingStore } from './store.ts'

/** `waits`: its head is due later. `stopped`: given back, since the worker ends. `lost`: another worker has it. */
export type LaneEnd = 'freed' | 'waits' | 'blocked' | 'stopped' | 'lost'

export interface LaneContext {
  readonly store: ParkingStore
  readonly pipeline: Pipeline
  readonly terms: ParkingTerms
  readonly pageSize: number
  readonly clock: Clock
  /** Aborts when the worker is to stop: no further row begins. */
  readonly stopping: AbortSignal
  readonly onHandled: () => void
  readonly onPipelineHeld: (afterMs: number) => void
}

type Tried = { readonly outcome: Outcome; readonly failed: boolean } | { readonly error: unknown }

const leastLaneWaitMs = 100
const firstRetryMs = 1_000
const longestRetryMs = 30_000

/** One lane in the hands of this worker: its rows run one by one, in order, until it is empty or one has to wait. */
export class LaneRun {
  readonly lease: LaneLease
  /** From before the last request whose answer was good was sent. */
  goodMs: number
  /** The key of its head, for people to read. */
  key = ''
  readonly #context: LaneContext
  readonly #abort = new AbortController()

  constructor(context: LaneContext, lease: LaneLease, goodMs: number) {
    this.#context = context
    this.lease = lease
    this.goodMs = goodMs
  }

  /** The lane is lost, or the worker waits no longer: what runs is aborted. */
  abort(reason: Error): void {
    this.#abort.abort(reason)
  }

  async run(): Promise<LaneEnd> {
    const { store, pageSize } = this.#context
    for (;;) {
      const page = await store.load(this.lease, pageSize)
      if (page === undefined) return 'lost'
      if (page.rows.length > 0) {
        const end = await this.#runRows(page.rows)
        if (end !== undefined) return end
      } else if ((await store.free(this.lease, page.tail)) === 'ok') return 'freed'
      else if (this.#abort.signal.aborted) return 'lost'
    }
  }

  async #runRows(rows: readonly ParkedRow[]): Promise<LaneEnd | undefined> {
    const { store, stopping, onHandled } = this.#context
    const done: ParkedName[] = []
    for (const row of rows) {
      if (stopping.aborted || this.#abort.signal.aborted) {
        await store.remove(done)
        return this.#giveBack(0, 'stopped')
      }
      const tried = await this.#try(row)
      if ('error' in tried) {
        await store.remove(done)
        return this.#wait(row, tried.error)
      }
      onHandled()
      if (tried.failed && this.#context.terms.whenDead === 'block-key') {
        await store.remove(done)
        return this.#block(row, 'failed for good')
      }
      done.push(row)
    }
    await store.remove(done)
    return undefined
  }

  async #try(row: ParkedRow): Promise<Tried> {
    const { pipeline, stopping } = this.#context
    const { message, origin, carried } = unpack(row.envelope, row.body)
    this.key = plainText(message.key ?? '', 200)
    const claim = { failed: false }
    const delivery: Delivery<Bytes> = {
      message: permitted(message, row.generation, origin.destination),
      bytes: row.body,
      pipeline: pipeline.name,
      origin,
      attempt: 1,
      signal: this.#abort.signal,
      draining: stopping,
      raw: null,
      parked: {
        lane: this.lease.lane,
        token: this.lease.token,
        ageMs: row.ageMs,
        waitedMs: row.waitedMs,
        carried,
        onFailed: () => (claim.failed = true),
      },
    }
    try {
      const outcome = await pipeline.step(delivery)
      return { outcome, failed: claim.failed && outcome === 'dead-lettered' }
    } catch (error) {
      // Its handler still runs: the lane stays held for as long.
      if (isAbandoned(error)) await this.#untilSettled(error.settled)
      return { error }
    }
  }

  async #wait(row: ParkedRow, error: unknown): Promise<LaneEnd> {
    const { terms, onPipelineHeld } = this.#context
    const later = isRetryLater(error) ? error : undefined
    const afterMs = later?.afterMs ?? Math.min(firstRetryMs * 2 ** Math.min(row.attempts, 10), longestRetryMs)
    if (later?.holds === 'pipeline') onPipelineHeld(afterMs)
    const because = textOf(later?.cause ?? error)
    const tooOld = later?.holds === 'message' && row.waitedMs >= terms.maxAgeMs && terms.onTooOld === 'block'
    const why = `${because.errorName}: ${because.errorMessage}`
    if (tooOld) return this.#block(row, why)
    const { message } = unpack(row.envelope, row.body)
    const attempts = attemptsBefore(error, message.id) ?? row.attempts
    const head = { scope: row.scope, key: row.key, attempts, error: plainText(why) }
    const waitMs = later?.holds === 'lane' ? Math.max(afterMs, leastLaneWaitMs) : afterMs
    return (await this.#context.store.reschedule(this.lease, waitMs, head)) === 'ok' ? 'waits' : 'lost'
  }

  async #block({ scope, key, attempts }: ParkedRow, why: string): Promise<LaneEnd> {
    const head = { scope, key, attempts, error: plainText(why) }
    return (await this.#context.store.reschedule(this.lease, null, head)) === 'ok' ? 'blocked' : 'lost'
  }

  async #giveBack(afterMs: number, end: LaneEnd): Promise<LaneEnd> {
    return (await this.#context.store.reschedule(this.lease, afterMs)) === 'ok' ? end : 'lost'
  }

  async #untilSettled(settled: Promise<unknown>): Promise<void> {
    const over = settled.then(
      () => undefined,
      () => undefined,
    )
    while (!this.#abort.signal.aborted) {
      const ended = await Promise.race([over.then(() => true), sleep(this.#context.clock, 100).then(() => false)])
      if (ended) return
    }
  }
}

/** An operator sent it again: the permission travels in the header, as in every redrive. */
function permitted(message: Message<Bytes>, generation: number, destination: string): Message<Bytes> {
  const { headers } = message
  if (generation <= generationOf(headers)) return message
  const permission = { generation, destination: redrivenFrom(headers)?.destination ?? destination }
  return { ...message, headers: withHeaders(headers, { [redriveHeader]: redriveText(permission) }) }
}
