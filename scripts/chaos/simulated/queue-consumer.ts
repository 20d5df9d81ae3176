import { queueConsumer } from '../../../src/consumer/queue/queue-consumer.ts'
import type { Ownership, QueueHost, QueueMembership, QueueSession } from '../../../src/consumer/queue/queue-client.ts'
import { sleep } from '../../../src/core/clock.ts'
import type { LogRecord, Member } from '../../../src/testing/world/simulated-broker.ts'
import {
  simulatedDelivery,
  simulatedPipeline,
  simulatedSettings,
  type ConsumerFactory,
  type ConsumerParts,
} from '../../../src/testing/world/simulated-consumer.ts'

const ackAgainMs = 100

/** The consumer that ships, over queues that ack each message by itself. */
export const singleAcks: ConsumerFactory = (parts) => overQueues(parts)

/** The same where the broker can ack all up to a message. */
export const acksTogether: ConsumerFactory = (parts) => overQueues(parts, { together: true })

/** The same where every ack takes in all before it. */
export const cumulativeAcks: ConsumerFactory = (parts) => overQueues(parts, { cumulative: true })

/** The same where the broker sends un-acked messages again every now and then, to the member that has them. */
export const requeueing: ConsumerFactory = (parts) => overQueues(parts, { again: 0.25 })

interface QueueBehaviour {
  /** How often un-acked messages are sent again. */
  readonly again?: number
  readonly together?: boolean
  readonly cumulative?: boolean
}

function overQueues(parts: ConsumerParts, behaviour: QueueBehaviour = {}): ReturnType<ConsumerFactory> {
  const { simulation, broker, process, group, clock } = parts
  const queues = new SimulatedQueues(parts, broker.join(process, group), behaviour)
  const consumer = queueConsumer<LogRecord>({
    ...simulatedSettings,
    client: {
      system: 'simulated',
      keyOf: ({ key }) => key,
      deliveryOf: (record, _source, context) => simulatedDelivery(record, context, simulation),
      async open(host) {
        void queues.poll(host)
        return queues
      },
    },
    group,
    pipeline: simulatedPipeline(parts),
    clock,
  })
  const stopping = new AbortController()
  return {
    member: queues.member,
    stop: () => stopping.abort(new Error('stopping')),
    run: () => consumer.run(stopping.signal),
  }
}

interface Source {
  readonly owned: Ownership<LogRecord>
  /** The first offset that was not delivered in this ownership. */
  next: number
  /** Delivered and not acked. */
  readonly unacked: Map<number, LogRecord>
}

/** Partitions as queues: the owner of one gets what was not acked, from the first message on. */
class SimulatedQueues implements QueueMembership {
  readonly member: Member
  readonly #parts: ConsumerParts
  readonly #behaviour: QueueBehaviour
  #sources = new Map<number, Source>()
  #known = 0

  constructor(parts: ConsumerParts, member: Member, behaviour: QueueBehaviour) {
    this.#parts = parts
    this.member = member
    this.#behaviour = behaviour
  }

  async poll(host: QueueHost<LogRecord>): Promise<void> {
    const { broker } = this.#parts
    for (;;) {
      const from = (partition: number): number => this.#sources.get(partition)?.next ?? 0
      const fetched = await broker.poll(this.member, this.#known, from)
      if (fetched === undefined || this.member.stopped) return
      if (fetched.generation !== this.#known) this.#own(host, fetched.generation)
      for (const record of fetched.records) this.#deliver(record)
      this.#deliverAgain()
    }
  }

  #own(host: QueueHost<LogRecord>, generation: number): void {
    this.#known = generation
    const { together = false, cumulative = false } = this.#behaviour
    // Each channel ends with its generation: what it had un-acked comes again on the next one.
    for (const { owned } of this.#sources.values()) owned.lost(new Error('the channel is gone'))
    this.#sources = new Map(
      this.#parts.broker.owned(this.member).map((partition) => {
        const unacked = new Map<number, LogRecord>()
        const one = (record: LogRecord): Promise<void> => this.#ack(record, unacked, generation)
        const upTo = (record: LogRecord): Promise<void> => this.#ackUpTo(record, unacked, generation)
        const session: QueueSession<LogRecord> = {
          ack: cumulative ? upTo : one,
          cumulative,
          ...(together && { ackUpTo: upTo }),
          leave: async () => {},
        }
        return [partition, { owned: host.own(`orders.${partition}`, session), next: 0, unacked }]
      }),
    )
  }

  #deliver(record: LogRecord): void {
    const source = this.#sources.get(record.partition)
    if (source === undefined || record.offset < source.next) return
    source.next = record.offset + 1
    if (this.#parts.broker.isAcked(this.#parts.group, record.partition, record.offset)) return
    source.unacked.set(record.offset, record)
    source.owned.deliver(record)
  }

  #deliverAgain(): void {
    const { again = 0 } = this.#behaviour
    for (const { owned, unacked } of this.#sources.values()) {
      const [first] = unacked.values()
      if (first !== undefined && again > 0 && this.#parts.simulation.random() < again) owned.deliver({ ...first })
    }
  }

  async #ack(record: LogRecord, unacked: Map<number, LogRecord>, generation: number): Promise<void> {
    const { broker, clock } = this.#parts
    while (this.#known === generation) {
      try {
        await broker.ack(this.member, record.partition, record.offset, generation)
        unacked.delete(record.offset)
        return
      } catch {
        await sleep(clock, ackAgainMs)
      }
    }
  }

  async #ackUpTo(record: LogRecord, unacked: Map<number, LogRecord>, generation: number): Promise<void> {
    const upTo = [...unacked.values()].filter(({ offset }) => offset <= record.offset)
    await Promise.all(upTo.map((each) => this.#ack(each, unacked, generation)))
  }

  quiet(): void {
    this.member.stopped = true
    this.member.wake?.()
  }

  async leave(): Promise<void> {
    this.#parts.broker.leave(this.member)
  }
}
