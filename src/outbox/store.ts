import type { Headers, Bytes } from '../core/message.ts'

/**
 * Keeps what committed transactions added, in shards, until relays have published it.
 *
 * The guarantee: a message is read when its transaction has committed and never when it was rolled back; each is read
 * again until it is settled, whatever stops in between; within a shard, the messages of transactions that shared a lock
 * are read in the order of that lock; at any instant at most one lease of a shard can settle. A key stays in its shard.
 */
export interface OutboxStore {
  /** Which kind of store it is: `postgresql`, `memory`. */
  readonly name: string
  /** @throws HoldfastError `bad-schema` where only an operator can help; any other error means "not reachable now". */
  check(options?: OutboxCallOptions): Promise<void>
  /** Says that this relay is there, for `leaseMs`, and tells which share of the shards is its own. */
  attend(owner: string, leaseMs: number, options?: OutboxCallOptions): Promise<Attendance>
  /** Leases one shard that nobody holds, `held` aside, or resolves to `null`. */
  claim(
    owner: string,
    leaseMs: number,
    held: readonly number[],
    options?: OutboxCallOptions,
  ): Promise<OutboxLease | null>
  /** The relay ends: the others get its share. */
  leave(owner: string, options?: OutboxCallOptions): Promise<void>
  /** Frees the space of what every shard has read. Safe to call at any time, from any relay. */
  rotate(options?: OutboxCallOptions): Promise<readonly Rotation[]>
  status(options?: OutboxCallOptions): Promise<OutboxStatus>
}

export interface OutboxCallOptions {
  /** Once it aborts, nobody waits for the answer any more. A store may end the call early. */
  readonly signal?: AbortSignal
}

export interface Attendance {
  readonly shards: number
  /** How many of them this relay should hold. */
  readonly share: number
  readonly relays: number
  /** Why nothing may be published or cleaned up until an operator has looked: a restored dump, a copied database. */
  readonly refused: string | null
}

/** One shard, for as long as the lease lasts. One call at a time, `renew` aside. */
export interface OutboxLease {
  readonly shard: number
  /** Grows with every lease of the shard. */
  readonly epoch: bigint
  /**
   * The next messages in order; none when there is nothing new. Those read before must have been settled.
   * At most `maxRows`, and no more than fit in `maxBytes` except for a first one that does not.
   */
  read(maxRows: number, maxBytes: number): Promise<readonly OutboxRow[] | 'lost'>
  /**
   * What was read last is published, but for the dead, which are kept aside. This lease does not read it again; the
   * next one may, since it need not be recorded at once.
   */
  settle(dead: readonly DeadRow[]): Promise<'ok' | 'lost'>
  /** Moves the end of the lease; may be called while another call is on its way. */
  renew(): Promise<'ok' | 'lost'>
  /** Lets delayed messages in that are due, in the order in which they fell due, and says how many. */
  moveDue(maxRows: number): Promise<number>
  /** Gives the shard back at once, with everything settled recorded. */
  release(): Promise<void>
}

export interface OutboxRow {
  /** Orders the messages of a shard. */
  readonly position: string
  readonly destination: string
  readonly key: string | null
  readonly type: string
  readonly id: string
  /** With `outbox-id`, by which `sequence()` tells old from new. */
  readonly headers: Headers
  readonly body: Bytes
  /** When it was added, in ms since 1970 by the store's clock. */
  readonly timeMs: number
  /** How old it was when it was read. */
  readonly ageMs: number
}

export interface DeadRow {
  readonly position: string
  readonly error: string
}

/** `busy`: something in it is unread. `locked`: a transaction that wrote to it is still open. */
export interface Rotation {
  readonly slot: number
  readonly result: 'cleaned' | 'empty' | 'busy' | 'locked'
}

export interface OutboxStatus {
  readonly shards: readonly ShardStatus[]
  /** Committed and not yet settled. Counted up to `pendingLimit`, since counting further costs more than it tells. */
  readonly pending: number
  readonly pendingLimit: number
  /** The age of the oldest of those counted, `null` for none. */
  readonly oldestAgeMs: number | null
  readonly delayed: number
  readonly dead: number
}

export interface ShardStatus {
  readonly shard: number
  readonly owner: string | null
  readonly epoch: bigint
  /** False: its lease has run out, and nobody has taken it. */
  readonly held: boolean
}
