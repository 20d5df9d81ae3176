import { logConsumer } from '../../consumer/log/log-consumer.ts'
import type {
  Generation,
  LogClient,
  LogHost,
  LogMembership,
  LogSession,
  Place,
  Position,
} from '../../consumer/log/log-client.ts'
import type { DeliveryContext } from '../../consumer/consumer.ts'
import { sleep, type Clock } from '../../core/clock.ts'
import type { Delivery, Outcome } from '../../core/delivery.ts'
import { headersFrom, type Bytes } from '../../core/message.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import { nameOf, type SimulatedProcess } from './process.ts'
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
  /** Resolves after it was stopped, and what it had begun has ended or was given up. */
  run(): Promise<void>
}

export type ConsumerFactory = (parts: ConsumerParts) => SimulatedConsumer

/** Of the consumer that ships: small, so that few messages reach every bound. */
export const simulatedSettings = { concurrency: 8, ahead: 16, redeliverMs: 1000, drainMs: 20_000 } as const

// As soon as a timer may be due.
const commitEveryMs = 1
const refusedMs = 100

/** The consumer that ships, over a log that moves partitions without a word: positions. */
export function simulatedConsumer(parts: ConsumerParts): SimulatedConsumer {
  const { clock, group } = parts
  const client = new SimulatedLog(parts)
  const consumer = logConsumer<LogRecord>({
    ...simulatedSettings,
    client,
    group,
    pipeline: simulatedPipeline(parts),
    commitEveryMs,
    clock,
  })
  const stopping = new AbortController()
  return {
    member: client.member,
    stop: () => stopping.abort(new Error('stopping')),
    run: () => consumer.run(stopping.signal),
  }
}

/** Runs each delivery as work of its process, and tells how it ended. */
export function simulatedPipeline({ pipeline, simulation, process, onSettled }: ConsumerParts): Pipeline {
  return {
    ...pipeline,
    async step(delivery) {
      const record = delivery.raw as LogRecord
      const outcome = await simulation.within(process, record.id, () => pipeline.step(delivery))
      onSettled(record, outcome)
      return outcome
    },
  }
}

class SimulatedLog implements LogClient<LogRecord>, LogMembership {
  readonly system = 'simulated'
  readonly member: Member
  readonly #parts: ConsumerParts
  #generation: Generation<LogRecord> | undefined
  /** The group's number of the present generation. */
  #known = 0
  /** Grows when generations were missed: then others may have had what this member owns. */
  #turn = 0

  constructor(parts: ConsumerParts) {
    this.#parts = parts
    this.member = parts.broker.join(parts.process, parts.group)
  }

  offsetOf({ offset }: LogRecord): number {
    return offset
  }

  keyOf({ key }: LogRecord): string {
    return key
  }

  deliveryOf(record: LogRecord, _place: Place, context: DeliveryContext): Delivery<Bytes> {
    return simulatedDelivery(record, context, this.#parts.simulation)
  }

  verdictOn(error: unknown): 'lost' | 'unknown' {
    return error instanceof Error && error.message === 'fenced' ? 'lost' : 'unknown'
  }

  async open(host: LogHost<LogRecord>): Promise<LogMembership> {
    void this.#poll(host)
    return this
  }

  quiet(): void {
    this.member.stopped = true
    this.member.wake?.()
  }

  async leave(): Promise<void> {
    this.#parts.broker.leave(this.member)
  }

  async #poll(host: LogHost<LogRecord>): Promise<void> {
    const { broker, clock } = this.#parts
    for (;;) {
      const from = (partition: number, committed: number): number =>
        this.#generation?.next(placeOf(partition)) ?? committed
      const fetched = await broker.poll(this.member, this.#known, from)
      if (fetched === undefined || this.member.stopped) return
      if (fetched.generation !== this.#known) this.#join(host, fetched.generation)
      const byPartition = Map.groupBy(fetched.records, ({ partition }) => partition)
      const refused = [...byPartition].filter(([partition, records]) => !this.#take(partition, records))
      if (refused.length > 0) await sleep(clock, refusedMs)
    }
  }

  #join(host: LogHost<LogRecord>, number: number): void {
    const { broker, process, group } = this.#parts
    if (number !== this.#known + 1) this.#turn++
    this.#known = number
    const owned = broker.owned(this.member).map((partition) => ({
      ...placeOf(partition),
      committed: broker.committed(group, partition),
    }))
    const session: LogSession = {
      commit: (positions) => this.#commit(positions, number),
      resume() {},
    }
    this.#generation = host.joined(`${nameOf(process)}.${this.#turn}`, owned, session)
  }

  #take(partition: number, records: readonly LogRecord[]): boolean {
    const [first] = records
    const last = records.at(-1)
    if (first === undefined || last === undefined) return true
    const from = this.#generation?.next(placeOf(partition)) ?? first.offset
    // Asked for by two polls, or before a join.
    const fresh = records.filter(({ offset }) => offset >= from)
    const [next] = fresh
    if (next === undefined) return true
    const batch = { ...placeOf(partition), records: fresh, from, first: next.offset, last: last.offset }
    return this.#generation?.accept(batch) !== 'refused'
  }

  async #commit(positions: readonly Position[], number: number): Promise<void> {
    for (const { partition, position } of positions)
      if ((await this.#parts.broker.commit(this.member, partition, position, number)) === 'fenced')
        throw new Error('fenced')
  }
}

export function simulatedDelivery(
  record: LogRecord,
  { pipeline, group, attempt, signal, draining }: DeliveryContext,
  simulation: Simulation,
): Delivery<Bytes> {
  const { id, key, body, partition, offset } = record
  return {
    message: { id, type: 'order.placed', key, headers: headersFrom([]), body, timeMs: startedAtMs + simulation.nowMs },
    bytes: body,
    pipeline,
    origin: { system: 'simulated', destination: 'orders', partition: `${partition}`, position: `${offset}`, group },
    attempt,
    signal,
    draining,
    raw: record,
  }
}

function placeOf(partition: number): Place {
  return { topic: 'orders', partition }
}
