import { sleep, type Clock } from '../../core/clock.ts'
import type { Outcome } from '../../core/delivery.ts'
import { attemptsBefore, isRetryLater } from '../../core/errors.ts'
import { headersFrom } from '../../core/message.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import type { SimulatedProcess } from './process.ts'
import type { LogRecord, Member, SimulatedBroker } from './simulated-broker.ts'
import { startedAtMs } from './simulated-clock.ts'
import type { Simulation } from './task.ts'

export interface ConsumerParts {
  readonly simulation: Simulation
  readonly broker: SimulatedBroker
  readonly process: SimulatedProcess
  readonly group: string
  readonly clock: Clock
  readonly pipeline: Pipeline
  readonly onSettled: (record: LogRecord, outcome: Outcome) => void
}

/** What drives a pipeline in a simulated process. */
export interface SimulatedConsumer {
  readonly member: Member
  stop(): void
  /** Resolves after it was stopped and everything it had begun has ended. */
  run(): Promise<void>
}

export type ConsumerFactory = (parts: ConsumerParts) => SimulatedConsumer

const longestWaitMs = 30_000
const commitAgainMs = 100

/** A plain consumer: messages of one key in order and one at a time, acked only up to the first one that is not done. */
export function simulatedConsumer({
  simulation,
  broker,
  process,
  group,
  clock,
  pipeline,
  onSettled,
}: ConsumerParts): SimulatedConsumer {
  const member = broker.join(process, group)
  let epoch = newEpoch()
  let known = 0
  let committing = Promise.resolve()
  const running = new Set<Promise<void>>()

  function newEpoch(): Epoch {
    return { over: new AbortController(), next: new Map(), oldest: new Map(), done: new Map(), lanes: new Map() }
  }

  function take(record: LogRecord): void {
    const { partition, offset, key } = record
    if (offset < (epoch.next.get(partition) ?? 0)) return
    epoch.next.set(partition, offset + 1)
    if (!epoch.oldest.has(partition)) epoch.oldest.set(partition, offset)
    const lane = `${partition}/${key}`
    const mine = epoch
    const generation = known
    const before = mine.lanes.get(lane) ?? Promise.resolve()
    const delivered = before.then(() => deliver(record, mine, generation)).finally(() => running.delete(delivered))
    running.add(delivered)
    mine.lanes.set(lane, delivered)
  }

  async function deliver(record: LogRecord, mine: Epoch, generation: number): Promise<void> {
    const { signal } = mine.over
    let attempt = 1
    for (let nacks = 0; !signal.aborted; nacks++) {
      try {
        const outcome = await simulation.within(process, record.id, () =>
          pipeline.step(deliveryOf(record, group, pipeline.name, attempt, signal, simulation)),
        )
        onSettled(record, outcome)
        done(record, mine, generation)
        return
      } catch (error) {
        attempt = (attemptsBefore(error, record.id) ?? (isRetryLater(error) ? attempt - 1 : attempt)) + 1
        const waitMs = isRetryLater(error) ? Math.max(10, error.afterMs) : 1000 * 2 ** nacks
        await sleep(clock, Math.min(waitMs, longestWaitMs), signal).catch(() => undefined)
      }
    }
  }

  function done({ partition, offset }: LogRecord, mine: Epoch, generation: number): void {
    if (mine !== epoch) return
    const finished = mine.done.get(partition) ?? new Set<number>()
    mine.done.set(partition, finished.add(offset))
    const from = mine.oldest.get(partition) ?? 0
    let to = from
    while (finished.delete(to)) to++
    mine.oldest.set(partition, to)
    if (to > from) committing = committing.then(() => commit(partition, to, mine, generation))
  }

  async function commit(partition: number, offset: number, mine: Epoch, generation: number): Promise<void> {
    while (mine === epoch) {
      try {
        await broker.commit(member, partition, offset, generation)
        return
      } catch {
        await sleep(clock, commitAgainMs)
      }
    }
  }

  return {
    member,
    stop() {
      member.stopped = true
      epoch.over.abort(new Error('stopping'))
      member.wake?.()
    },
    async run() {
      for (;;) {
        const fetched = await broker.poll(
          member,
          known,
          (partition, committed) => epoch.next.get(partition) ?? committed,
        )
        if (fetched === undefined || member.stopped) break
        if (fetched.generation !== known) {
          epoch.over.abort(new Error('the partition was lost'))
          epoch = newEpoch()
          known = fetched.generation
        }
        for (const record of fetched.records) take(record)
      }
      // Those of earlier epochs too: what runs on must not be cut off.
      await Promise.all(running)
      await committing
      broker.leave(member)
    },
  }
}

/** What must be forgotten when partitions move. */
interface Epoch {
  readonly over: AbortController
  /** The next offset to take, by partition. */
  readonly next: Map<number, number>
  /** The first offset that is not done. */
  readonly oldest: Map<number, number>
  readonly done: Map<number, Set<number>>
  readonly lanes: Map<string, Promise<void>>
}

export function deliveryOf(
  { id, key, body, partition, offset }: LogRecord,
  group: string,
  pipeline: string,
  attempt: number,
  signal: AbortSignal,
  simulation: Simulation,
): Parameters<Pipeline['step']>[0] {
  return {
    message: { id, type: 'order.placed', key, headers: headersFrom([]), body, timeMs: startedAtMs + simulation.nowMs },
    bytes: body,
    pipeline,
    origin: { system: 'simulated', destination: 'orders', partition: `${partition}`, position: `${offset}`, group },
    attempt,
    signal,
    raw: null,
  }
}
