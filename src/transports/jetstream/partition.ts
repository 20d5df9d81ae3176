import { nanos, type NatsConnection } from '@nats-io/transport-node'
import type { ConsumerMessages, JetStreamClient, JetStreamManager, JsMsg } from '@nats-io/jetstream'
import type { Ownership, QueueHost, QueueSession } from '../../consumer/queue/queue-client.ts'
import type { Clock } from '../../core/clock.ts'
import { HoldfastError } from '../../core/errors.ts'
import { ackedFloor } from './acked-floor.ts'
import { consumerName } from './consumer-name.ts'
import { isWrongRevision, reasonOf } from './errors.ts'
import type { Lease, Leases } from './leases.ts'
import { RecordReader, type NatsMessageId, type NatsRecord } from './record.ts'
import { replyOf, sequencesOf } from './sequences.ts'

/** A subject of the stream whose messages are handled in order. */
export interface NatsPartition {
  /** Part of names in NATS: letters, digits, `-` and `_`. */
  readonly name: string
  readonly filter: string
}

export interface PartitionSettings {
  readonly nc: Pick<NatsConnection, 'request'>
  readonly js: Pick<JetStreamClient, 'consumers'>
  readonly jsm: Pick<JetStreamManager, 'consumers' | 'streams'>
  readonly stream: string
  readonly group: string
  readonly startFrom: 'earliest' | 'latest'
  readonly id: NatsMessageId | undefined
  readonly maxAckPending: number
  readonly ackWaitMs: number
  readonly leaseMs: number
  readonly member: string
  readonly leases: Leases
  readonly clock: Clock
  readonly note: (text: string) => void
}

interface StreamState {
  readonly isWorkQueue: boolean
  /** What was acked stays in the stream: then one ack may take in all before it. */
  readonly keepsAcked: boolean
  readonly first: number
  readonly last: number
  /** Tells a stream from an earlier one of its name. */
  readonly createdMs: number
}

const barrierMs = 2_000

/** One partition as this member sees it: free, somebody's, or owned here by a lease that is renewed. */
export class Partition {
  readonly name: string
  readonly #filter: string
  readonly #settings: PartitionSettings
  readonly #host: QueueHost<NatsRecord>
  #tenure: Tenure | undefined

  constructor({ name, filter }: NatsPartition, settings: PartitionSettings, host: QueueHost<NatsRecord>) {
    this.name = name
    this.#filter = filter
    this.#settings = settings
    this.#host = host
  }

  get owned(): Ownership<NatsRecord> | undefined {
    const owned = this.#tenure?.owned
    return owned === undefined || owned.isOver ? undefined : owned
  }

  /** Takes the partition if it is free, and says so. A crash between two of its steps leaves a floor that is too low, never too high. */
  async claim(): Promise<boolean> {
    const { leases, member, leaseMs, clock } = this.#settings
    const { lease, revision } = await leases.read(this.name)
    const isHeld = lease !== undefined && lease.owner !== null && lease.owner !== member
    if (isHeld && leases.stillMs(this.name, revision) < leaseMs) return false
    const state = await this.#streamState()
    const mine = { owner: member, epoch: (lease?.epoch ?? 0) + 1, floor: await this.#floor(lease, state) }
    const sentMs = clock.now()
    let written: number
    try {
      written = await leases.write(this.name, mine, revision)
    } catch (error) {
      if (isWrongRevision(error)) return false
      throw error
    }
    try {
      await this.#makeConsumer(mine, state)
      this.#tenure = new Tenure(this.name, this.#settings, mine, written, sentMs, state)
      await this.#tenure.begin(this.#host)
      return true
    } catch (error) {
      await leases.write(this.name, { ...mine, owner: null }, written).catch(() => {})
      throw error
    }
  }

  async #streamState(): Promise<StreamState> {
    const { jsm, stream } = this.#settings
    const { config, state, created } = await jsm.streams.info(stream)
    const isWorkQueue = config.retention === 'workqueue'
    const keepsAcked = config.retention === 'limits'
    return { isWorkQueue, keepsAcked, first: state.first_seq, last: state.last_seq, createdMs: Date.parse(created) }
  }

  /** The last sequence up to which everything was acked. */
  async #floor(lease: Lease | undefined, { first, last }: StreamState): Promise<number> {
    if (lease === undefined) return this.#settings.startFrom === 'latest' ? last : 0
    const { jsm, stream } = this.#settings
    const floor = Math.max(lease.floor, await ackedFloor(jsm, stream, this.#consumerName(lease.epoch)))
    if (floor > last) {
      // The stream was made anew: its sequences begin again.
      this.#host.report('out-of-range', { source: this.name, floor, last })
      return 0
    }
    if (floor + 1 < first) this.#host.report('messages-lost', { source: this.name, from: floor + 1, to: first })
    return floor
  }

  /** Every ownership has a consumer of its own: what a zombie acks or pulls names one that is gone. */
  async #makeConsumer({ epoch, floor }: Lease, { isWorkQueue, keepsAcked }: StreamState): Promise<void> {
    const { jsm, stream, ackWaitMs, maxAckPending } = this.#settings
    const dropOld = async () => {
      // The one before may be of a member that died before it could delete it.
      for (const old of [epoch - 1, epoch - 2])
        if (old > 0) await jsm.consumers.delete(stream, this.#consumerName(old)).catch(() => {})
    }
    // A work queue takes one consumer for a subject, and no start sequence. Elsewhere the new one comes first: messages
    // that nobody is interested in are removed.
    if (isWorkQueue) await dropOld()
    await jsm.consumers.add(stream, {
      durable_name: this.#consumerName(epoch),
      filter_subject: this.#filter,
      ack_policy: keepsAcked ? 'all' : 'explicit',
      ack_wait: nanos(ackWaitMs),
      max_ack_pending: maxAckPending,
      max_deliver: -1,
      ...(isWorkQueue || floor === 0
        ? { deliver_policy: 'all' }
        : { deliver_policy: 'by_start_sequence', opt_start_seq: floor + 1 }),
    })
    if (!isWorkQueue) await dropOld()
  }

  #consumerName(epoch: number): string {
    return consumerName(this.#settings.group, this.name, epoch)
  }
}

/** One ownership of a partition: its lease, its consumer, and what was delivered and not acked. */
class Tenure implements QueueSession<NatsRecord> {
  readonly #name: string
  readonly #settings: PartitionSettings
  readonly #lease: Lease
  readonly cumulative: boolean
  readonly #records: RecordReader
  /** Delivered and not acked, by sequence, where each is acked by itself. */
  readonly #known = new Set<number>()
  /** The last one that was delivered, and the last one that was acked with all before it. */
  #newest = 0
  #ackedTo = 0
  #revision: number
  /** The last renewal that got through was sent then. */
  #heardMs: number
  #owned: Ownership<NatsRecord> | undefined
  #messages: ConsumerMessages | undefined
  /** The consumer is this ownership's own, so its deliveries begin at 1. The very first one may be lost on the way too. */
  #nextDelivery = 1
  #lastAcked: JsMsg | undefined
  #cancelBeat = (): void => {}

  constructor(
    name: string,
    settings: PartitionSettings,
    lease: Lease,
    revision: number,
    sentMs: number,
    state: StreamState,
  ) {
    this.#name = name
    this.#settings = settings
    this.#lease = lease
    this.#revision = revision
    this.#heardMs = sentMs
    this.cumulative = state.keepsAcked
    const { id, stream, note } = settings
    this.#records = new RecordReader({
      id,
      place: ({ seq }) => `${stream}@${state.createdMs}/${seq}`,
      onAnonymous: () => note(withoutId(stream)),
    })
  }

  get owned(): Ownership<NatsRecord> | undefined {
    return this.#owned
  }

  async begin(host: QueueHost<NatsRecord>): Promise<void> {
    const { js, stream, group, maxAckPending } = this.#settings
    const consumer = await js.consumers.get(stream, consumerName(group, this.#name, this.#lease.epoch))
    this.#owned = host.own(this.#name, this)
    this.#beatLater()
    try {
      this.#messages = await consumer.consume({
        max_messages: Math.min(maxAckPending, 1_000),
        expires: 5_000,
        idle_heartbeat: 1_000,
        callback: (raw) => this.#receive(raw),
      })
    } catch (error) {
      // Else the lease would be renewed for ever with nothing delivered.
      this.#lose(`its deliveries could not begin: ${reasonOf(error)}`)
      throw error
    }
    void this.#watch(this.#messages)
    void this.#messages.closed().then((error) => this.#lose(`its deliveries ended: ${reasonOf(error)}`))
  }

  ack({ raw, seq }: NatsRecord): void {
    if (this.cumulative) this.#ackedTo = seq
    else this.#known.delete(seq)
    raw.ack()
    this.#lastAcked = raw
  }

  extend({ raw }: NatsRecord): void {
    raw.working()
  }

  async leave(): Promise<void> {
    const { nc, jsm, stream, group, leases } = this.#settings
    this.#stop()
    // Acks are worked off behind the connection. The answer to one says that those before it are in.
    const last = replyOf(this.#lastAcked)
    if (last !== undefined) await nc.request(last, '+ACK', { timeout: barrierMs }).catch(() => {})
    const name = consumerName(group, this.#name, this.#lease.epoch)
    const acked = await jsm.consumers.info(stream, name).then(
      (info) => info.ack_floor.stream_seq,
      () => 0,
    )
    const floor = Math.max(this.#lease.floor, acked)
    await leases.write(this.#name, { ...this.#lease, owner: null, floor }, this.#revision)
  }

  #receive(raw: JsMsg): void {
    const owned = this.#owned
    if (owned === undefined || owned.isOver) return
    const { seq, delivery } = sequencesOf(raw)
    if (delivery > this.#nextDelivery)
      return this.#lose(`deliveries ${this.#nextDelivery} to ${delivery - 1} were lost on the way`)
    this.#nextDelivery = delivery + 1
    if (this.#isKnown(raw, seq) || !owned.deliver(this.#records.read(raw, seq))) return
    if (this.cumulative) this.#newest = seq
    else this.#known.add(seq)
  }

  /** Whether the server sends it again in this ownership. */
  #isKnown(raw: JsMsg, seq: number): boolean {
    if (!this.cumulative) return this.#known.has(seq)
    // Its ack was lost on the way.
    if (seq <= this.#ackedTo) raw.ack()
    return seq <= this.#newest
  }

  async #watch(messages: ConsumerMessages): Promise<void> {
    for await (const { type } of messages.status())
      if (type === 'consumer_not_found' || type === 'consumer_deleted' || type === 'stream_not_found')
        this.#lose(`its consumer is gone: ${type}`)
  }

  /** On a timer of its own: a slow look at the other partitions must not cost a lease. */
  #beatLater(): void {
    const { clock, leaseMs } = this.#settings
    this.#cancelBeat = clock.after(leaseMs / 4, () => {
      if (this.#owned?.isOver !== false) return
      if (clock.now() - this.#heardMs >= leaseMs) return this.#lose('its lease ran out: no renewal got through')
      this.#beatLater()
      void this.#renew()
    })
  }

  async #renew(): Promise<void> {
    const { leases, clock } = this.#settings
    const sentMs = clock.now()
    try {
      this.#revision = await leases.write(this.#name, this.#lease, this.#revision)
      this.#heardMs = sentMs
    } catch (error) {
      if (isWrongRevision(error)) await this.#confirm()
    }
  }

  /** The answer to an earlier renewal may have been lost: then the entry is our own. */
  async #confirm(): Promise<void> {
    const { leases, member } = this.#settings
    const found = await leases.read(this.#name).catch(() => undefined)
    if (found === undefined) return
    if (found.lease?.owner === member && found.lease.epoch === this.#lease.epoch) this.#revision = found.revision
    else this.#lose('another member owns it')
  }

  #lose(why: string): void {
    const owned = this.#owned
    if (owned === undefined || owned.isOver) return
    this.#stop()
    owned.lost(new HoldfastError('stopped', `partition ${this.#name}: ${why}`))
    // If the lease is still ours, it is free at once, for us too.
    this.#settings.leases.write(this.#name, { ...this.#lease, owner: null }, this.#revision).catch(() => {})
  }

  #stop(): void {
    this.#cancelBeat()
    this.#messages?.stop()
  }
}

function withoutId(stream: string): string {
  return `stream ${stream} has messages without an id: their place in the stream stands for it, so a producer's duplicate is handled twice. Set the header message-id or Nats-Msg-Id when publishing`
}
