import type { DeliveryContext } from '../../consumer/consumer.ts'
import type { QueueClient, QueueHost, QueueMembership } from '../../consumer/queue/queue-client.ts'
import { sleep } from '../../core/clock.ts'
import type { Delivery } from '../../core/delivery.ts'
import { HoldfastError } from '../../core/errors.ts'
import type { Bytes } from '../../core/message.ts'
import type { Features } from '../../consumer/features.ts'
import { features } from '../features.ts'
import { inTime } from '../in-time.ts'
import { isNobodyThere, isStreamMissing, isUnanswered, reasonOf } from './errors.ts'
import { deliveryOf } from './delivery.ts'
import { Partition, type NatsPartition, type PartitionSettings } from './partition.ts'
import type { NatsRecord } from './record.ts'

export interface NatsClientSettings extends PartitionSettings {
  readonly partitions: readonly NatsPartition[]
  /** How often a member looks for partitions to take or to hand on. */
  readonly shareEveryMs: number
  readonly random: () => number
}

/** What of the consumer is JetStream's alone: leases, a consumer for each ownership, and who has which partition. */
export class NatsClient implements QueueClient<NatsRecord> {
  readonly system = 'nats'
  readonly features: Features = features.nats
  readonly positions = true
  readonly extendMs: number
  readonly #settings: NatsClientSettings
  /** Of partitions that are one subject: no need to read each message's. */
  readonly #destinations: ReadonlyMap<string, string>

  constructor(settings: NatsClientSettings) {
    this.extendMs = settings.ackWaitMs
    this.#settings = settings
    const single = settings.partitions.filter(({ filter }) => !/[*>]/.test(filter))
    this.#destinations = new Map(single.map(({ name, filter }) => [name, destinationOf(filter, name)]))
  }

  keyOf({ message }: NatsRecord): string | null {
    return message.key
  }

  deliveryOf(record: NatsRecord, source: string, context: DeliveryContext): Delivery<Bytes> {
    const destination = this.#destinations.get(source) ?? destinationOf(record.raw.subject, source)
    return deliveryOf(record, { destination, partition: source }, context)
  }

  /** What a member needs from its first moment on: the stream, and the bucket of its leases. */
  async check(signal: AbortSignal): Promise<void> {
    const { jsm, stream, leases, member, partitions } = this.#settings
    const [first] = partitions
    await this.#answered(signal, () => jsm.streams.info(stream), noStream(stream))
    if (first !== undefined) await this.#answered(signal, () => leases.read(first.name), noBucket)
    await this.#answered(signal, () => leases.beat(member), noBucket)
  }

  /** Waits for a server that is away. What it refuses, no wait mends. */
  async #answered(signal: AbortSignal, ask: () => Promise<unknown>, refused: (error: unknown) => Error): Promise<void> {
    for (let tries = 1; !signal.aborted; tries++)
      try {
        return void (await ask())
      } catch (error) {
        if (!mayPass(error, tries)) throw refused(error)
        await sleep(this.#settings.clock, checkAgainMs, signal).catch(() => {})
      }
  }

  open(host: QueueHost<NatsRecord>): Promise<QueueMembership> {
    return Promise.resolve(new NatsMembership(this.#settings, host))
  }
}

const checkAgainMs = 500
// A server that starts answers before its JetStream does.
const nobodyThereTries = 20

/** A server that is away comes back, and the client connects to it by itself. What it answers, no wait mends. */
function mayPass(error: unknown, tries: number): boolean {
  return isUnanswered(error) || (isNobodyThere(error) && tries < nobodyThereTries)
}

function noStream(stream: string): (error: unknown) => HoldfastError {
  return (error) =>
    isStreamMissing(error)
      ? unavailable(`stream: '${stream}' does not exist`, error)
      : unavailable(`stream: '${stream}' cannot be read: ${reasonOf(error)}`, error)
}

function noBucket(error: unknown): HoldfastError {
  return isStreamMissing(error)
    ? unavailable("kv: the bucket does not exist; make it with new Kvm(js).create('holdfast')", error)
    : unavailable(`kv: the leases cannot be read and written in it: ${reasonOf(error)}`, error)
}

function unavailable(what: string, cause: unknown): HoldfastError {
  return new HoldfastError('unavailable', `nats: ${what}`, { cause })
}

// A list of the members has at most a key for each.
const listMs = 2_000

class NatsMembership implements QueueMembership {
  readonly #settings: NatsClientSettings
  readonly #host: QueueHost<NatsRecord>
  readonly #partitions: readonly Partition[]
  readonly #ending = new AbortController()
  readonly #sharing: Promise<void>
  #cancelBeat = (): void => {}
  #problem: string | undefined = 'it has not looked for partitions yet'

  constructor(settings: NatsClientSettings, host: QueueHost<NatsRecord>) {
    this.#settings = settings
    this.#host = host
    this.#partitions = settings.partitions.map((each) => new Partition(each, settings, host))
    this.#beat()
    this.#sharing = this.#share()
  }

  problem(): string | undefined {
    return this.#problem
  }

  quiet(): void {
    this.#ending.abort(new HoldfastError('stopped', 'shutting down'))
  }

  async leave(): Promise<void> {
    await this.#sharing
    this.#cancelBeat()
    const { leases, member } = this.#settings
    await leases.leave(member).catch(() => {})
  }

  /** On a timer of its own: a claim that takes long must not make the others believe that this member is gone. */
  #beat(): void {
    const { leases, member, leaseMs, clock } = this.#settings
    void leases.beat(member).catch(() => {})
    this.#cancelBeat = clock.after(leaseMs / 3, () => this.#beat())
  }

  async #share(): Promise<void> {
    const { clock, shareEveryMs, random } = this.#settings
    while (!this.#isEnding()) {
      try {
        await this.#takeShare()
        this.#problem = undefined
      } catch (error) {
        if (this.#problem === undefined) this.#host.report('share-failed', {}, error)
        this.#problem = `partitions cannot be claimed: ${reasonOf(error)}`
      }
      await sleep(clock, shareEveryMs * (0.75 + random() / 2), this.#ending.signal).catch(() => {})
    }
  }

  async #takeShare(): Promise<void> {
    const { leases, member, leaseMs, clock } = this.#settings
    // The client lists keys without a time limit, and over a cut connection the list never ends.
    const members = await inTime(leases.countMembers(member, leaseMs), this.#ending.signal, {
      broker: 'NATS',
      timeoutMs: listMs,
      clock,
    })
    const share = Math.ceil(this.#partitions.length / members)
    const owned = this.#partitions.map((each) => each.owned).filter((each) => each !== undefined)
    const [first] = owned.filter(({ isLeaving }) => !isLeaving)
    if (owned.length > share) {
      void first?.handOver('share')
      return
    }
    let count = owned.length
    for (const partition of this.#partitions) {
      if (count >= share || this.#isEnding()) return
      if (partition.owned !== undefined) continue
      if (await partition.claim()) count++
    }
  }

  #isEnding(): boolean {
    return this.#ending.signal.aborted
  }
}

/** As `bySubject()` takes it: without the partition at its end. */
function destinationOf(subject: string, partition: string): string {
  const end = `.${partition}`
  return subject.endsWith(end) ? subject.slice(0, -end.length) : subject
}
