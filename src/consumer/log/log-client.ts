import type { Delivery } from '../../core/delivery.ts'
import type { Bytes } from '../../core/message.ts'
import type { DeliveryContext } from '../consumer.ts'
import type { Features } from '../features.ts'

/** One partition of a log. */
export interface Place {
  readonly topic: string
  readonly partition: number
}

/** A piece of one partition's log. */
export interface LogBatch<Raw> extends Place {
  readonly records: readonly Raw[]
  /** Where the fetch began. */
  readonly from: number
  /** The first and the last offset of the piece. Both may belong to records that are not for us: markers, aborted records. */
  readonly first: number
  readonly last: number
}

/** Offsets that were not delivered: `from` and above, below `to`. */
export interface Gap extends Place {
  readonly from: number
  readonly to: number
}

/** The offset of the first record that is not done. */
export interface Position extends Place {
  readonly position: number
}

/** A partition that the group assigned. */
export interface Assigned extends Place {
  /** What the group has committed, where the client knows it. */
  readonly committed?: number
}

/**
 * A client of a partitioned log: Kafka, or anything that commits positions. It owns the connections, the membership of
 * the group and the fetches. The consumer does the rest: order, concurrency, commits, drains, stops, health.
 */
export interface LogClient<Raw> {
  /** As in `delivery.origin.system` and in events. */
  readonly system: string
  /** What the broker can do, for `describe()`. */
  readonly features?: Features
  /** Whether a partition that is kept over a join is fetched again from its committed position, as kafkajs does. */
  readonly refetches?: boolean
  offsetOf(record: Raw): number
  /** Byte-exact: `keyFromBytes()`. */
  keyOf(record: Raw): string | null
  /** A throw is a nack of this message. */
  deliveryOf(record: Raw, place: Place, context: DeliveryContext): Delivery<Bytes>
  /**
   * What an error of `commit` or `beat` means. `rebalancing`: the group waits for this member. `lost`: the membership is
   * over. `unknown`: it says nothing about the membership.
   */
  verdictOn(error: unknown): 'rebalancing' | 'lost' | 'unknown'
  /** Rejects with one sentence that names the setting. */
  check?(signal: AbortSignal): Promise<void>
  /** Starts to join the group. Resolves before the join has succeeded. */
  open(host: LogHost<Raw>): Promise<LogMembership>
}

/** What a client tells the consumer. */
export interface LogHost<Raw> {
  /**
   * The group assigned its partitions: a new epoch begins, and the one before is over. The state of partitions that the
   * same member still owns is kept. Await nothing between this call and the first fetch of the epoch.
   */
  joined(member: string, owned: readonly Assigned[], session: LogSession): Generation<Raw>
  /** The client stopped working. `isFinal`: it does not start again by itself, so `run()` rejects with this error. */
  crashed(error: Error, isFinal: boolean): void
  /** Publishes a `consumer-changed` event. */
  report(change: string, detail: Readonly<Record<string, unknown>>, error?: unknown): void
}

/** One epoch of the membership. Once it is over, every call on it changes nothing. */
export interface Generation<Raw> {
  /** Whether another generation began, or this one was lost. */
  readonly isOver: boolean
  /**
   * Await it before you send a JoinGroup request or give partitions up. It finishes and commits the started messages, as
   * far as `drainMs` allows. After that, errors of the session change nothing. Give `places` if the other partitions go
   * on. It never rejects.
   */
  finish(why: string, places?: readonly Place[]): Promise<void>
  /**
   * `taken`: there is room for more. `full`: the batch was taken; fetch no more until `session.resume(place)`. `refused`:
   * nothing was taken, because the partition is not owned, is handed back, or the consumer stops. Then keep the fetch
   * position.
   */
  accept(batch: LogBatch<Raw>): 'taken' | 'full' | 'refused'
  /** Where the next fetch of an owned partition begins; unknown before its first batch. */
  next(place: Place): number | undefined
  /** The log of an owned partition is another one, or begins behind what was read. Its known positions are void. */
  restarted(place: Place): void
  /** The group answered. */
  heard(): void
  /** The group waits for this member: finish, then join. */
  rebalancing(): void
  /** The membership is lost: running handlers are told to stop. */
  lost(error: Error): void
  /** The membership ended in good order. */
  ended(): void
}

/** What the consumer asks of a client during one generation. A call after its end must reject or change nothing. */
export interface LogSession {
  /** Rejects if the group did not accept all of it. Works while `finish` runs and until `leave`. */
  commit(positions: readonly Position[]): Promise<void>
  /** There is room again, or a new epoch has begun. */
  resume(place: Place): void
  /** Sends one heartbeat, where the client does not beat by itself while `finish` runs. */
  beat?(): Promise<void> | undefined
  /** Whether the client has read the group's committed position. A commit of ours would overwrite it. */
  mayCommit?(place: Place): boolean
  /** Finds out in the background why offsets were not delivered, and reports it. */
  explain?(gap: Gap): void
}

/** The membership of a client, for as long as it runs. */
export interface LogMembership {
  /** Why it cannot fetch now, for `health()`. */
  problem?(): string | undefined
  /** The consumer stops: nothing is accepted any more. Commits and beats still are. */
  quiet(): void
  /** Leaves the group and closes what the client opened. Bounded by the consumer. */
  leave(): Promise<void>
}
