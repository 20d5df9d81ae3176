import type {
  Generation,
  LogClient,
  LogHost,
  LogMembership,
  LogSession,
  Place,
  Position,
} from '../../consumer/log/log-client.ts'
import { keyFromBytes } from '../../core/message.ts'
import { features } from '../features.ts'
import type { KafkaGroupSettings } from '../kafka-group.ts'
import { checkBrokers } from './check.ts'
import { ClassicGroup } from './classic-group.ts'
import { deliveryFrom, type MessageId } from './codec.ts'
import { ConsumerGroup } from './consumer-group.ts'
import { Coordinator, placeId } from './coordinator.ts'
import { apiIdOf, endedMembership, explained } from './errors.ts'
import { Fetcher, type FetchedPiece, type FetchSink } from './fetcher.ts'
import type { Group, GroupHost } from './group.ts'
import type { KafkaRecord } from './records.ts'
import { Wire, type KafkaConnectionOptions } from './wire.ts'

export type GroupProtocol = 'classic' | 'consumer'

export interface PlatformaticClientOptions extends KafkaGroupSettings {
  readonly connection: KafkaConnectionOptions
  readonly groupProtocol: GroupProtocol
  readonly id: MessageId | undefined
  readonly maxBytes: number
  readonly maxBytesPerPartition: number
}

// A quick request that has no answer by then is asked again over another connection.
const quickMs = 10_000

/** What of the managed consumer is Kafka's alone: membership and fetches, over the protocol layer of the client. */
export function platformaticClient(options: PlatformaticClientOptions): LogClient<KafkaRecord> {
  return {
    system: 'kafka',
    features: features.kafka,
    offsetOf: (record) => record.offset,
    keyOf: (record) => keyFromBytes(record.key),
    deliveryOf: (record, place, context) => deliveryFrom(record, place, context, options),
    verdictOn,
    check: (signal) => checkBrokers(options, options.clock, signal),
    open(host) {
      const membership = new Membership(options, host)
      membership.begin()
      return Promise.resolve(membership)
    },
  }
}

function verdictOn(error: unknown): 'rebalancing' | 'lost' | 'unknown' {
  const id = apiIdOf(error) ?? ''
  if (endedMembership.has(id)) return 'lost'
  return id === 'REBALANCE_IN_PROGRESS' ? 'rebalancing' : 'unknown'
}

class Membership implements LogMembership, GroupHost, FetchSink {
  readonly #host: LogHost<KafkaRecord>
  readonly #startFrom: 'earliest' | 'latest'
  readonly #wires: { readonly quick: Wire; readonly slow: Wire; readonly fetch: Wire }
  readonly #coordinator: Coordinator
  readonly #fetcher: Fetcher
  readonly #group: Group
  #generation: Generation<KafkaRecord> | undefined

  constructor(options: PlatformaticClientOptions, host: LogHost<KafkaRecord>) {
    const { connection, groupId, groupProtocol, sessionMs, rebalanceMs, maxWaitMs, clock } = options
    this.#host = host
    this.#startFrom = options.startFrom
    this.#wires = {
      quick: new Wire(connection, Math.min(sessionMs, quickMs)),
      // The broker answers a join when every member has come, or its time is up.
      slow: new Wire(connection, rebalanceMs + sessionMs),
      fetch: new Wire(connection, maxWaitMs + quickMs),
    }
    const { quick, slow } = this.#wires
    this.#coordinator = new Coordinator(quick, groupId)
    this.#fetcher = new Fetcher(this.#wires, options, this, clock)
    const parts = { coordinator: this.#coordinator, quick, slow, settings: options, host: this, clock }
    this.#group = groupProtocol === 'consumer' ? new ConsumerGroup(parts) : new ClassicGroup(parts)
  }

  begin(): void {
    this.#group.begin()
  }

  async finish(why: 'join' | 'revoke', revoked: readonly Place[]): Promise<void> {
    await this.#generation?.finish(why, why === 'revoke' ? revoked : undefined)
  }

  async joined(member: string, owned: readonly Place[]): Promise<void> {
    const committed = await this.#coordinator.committed(owned)
    const starts = await Promise.all(
      owned.map(async (place) => ({
        ...place,
        offset: committed.get(placeId(place.topic, place.partition)) ?? (await this.#start(place)),
      })),
    )
    // Nothing is awaited from here on: the epoch, its positions and its fetches change together.
    this.#fetcher.assign(starts)
    const assigned = owned.map((place) => {
      const position = committed.get(placeId(place.topic, place.partition))
      return position === undefined ? place : { ...place, committed: position }
    })
    const session = new Session(this.#group, this.#fetcher)
    const generation = this.#host.joined(member, assigned, session)
    session.generation = generation
    this.#generation = generation
    for (const { offset, ...place } of starts) {
      const next = generation.next(place)
      if (next !== undefined) this.#fetcher.seek(place, next)
      // Committed at once, so that it is the start for every later owner too.
      else if (this.#startFrom === 'latest' && !committed.has(placeId(place.topic, place.partition)))
        generation.accept({ ...place, records: [], from: offset, first: offset, last: offset - 1 })
    }
  }

  heard(): void {
    this.#generation?.heard()
  }

  rebalancing(): void {
    this.#generation?.rebalancing()
  }

  lost(error: Error): void {
    this.#fetcher.clear()
    this.#generation?.lost(error)
  }

  madeAnew(topic: string): void {
    this.#host.report('out-of-range', { topic, madeAnew: true })
  }

  failed(error: Error, isFinal = true): void {
    if (isFinal) this.#fetcher.clear()
    this.#host.crashed(explained(error), isFinal)
  }

  accept({ messages, ...piece }: FetchedPiece): 'taken' | 'full' | 'refused' {
    return this.#generation?.accept({ ...piece, records: messages }) ?? 'refused'
  }

  restarted(place: Place): void {
    this.#generation?.restarted(place)
  }

  report(change: string, detail: Readonly<Record<string, unknown>>): void {
    this.#host.report(change, detail)
  }

  troubled(error: Error): void {
    this.#host.report('fetch-failed', {}, error)
  }

  recovered(): void {
    this.#host.report('fetch-recovered', {})
  }

  problem(): string | undefined {
    return this.#fetcher.problem
  }

  quiet(): void {
    this.#fetcher.quiet()
  }

  async leave(): Promise<void> {
    this.#fetcher.close()
    await this.#group.leave()
    await Promise.all(Object.values(this.#wires).map((wire) => wire.close()))
  }

  #start(place: Place): Promise<number> {
    return this.#fetcher.offsetOf(place, this.#startFrom)
  }
}

/** One generation, as the consumer uses it. */
class Session implements LogSession {
  readonly #group: Group
  readonly #fetcher: Fetcher
  generation: Generation<KafkaRecord> | undefined

  constructor(group: Group, fetcher: Fetcher) {
    this.#group = group
    this.#fetcher = fetcher
  }

  async commit(positions: readonly Position[]): Promise<void> {
    if (this.generation?.isOver === true) throw new Error('the generation is over')
    await this.#group.commit(positions)
  }

  resume(place: Place): void {
    if (this.generation?.isOver !== true) this.#fetcher.resume(place)
  }
}
