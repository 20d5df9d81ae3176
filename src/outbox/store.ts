import type { Headers, Bytes } from '../core/message.ts'

/**
 * Keeps the messages of committed transactions in shards until relays have published them.
 *
 * The guarantees: a message is read only after its transaction has committed, never after a rollback. It is read again
 * until it is settled, even if processes die in between. Within a shard, messages of transactions that shared a lock are
 * read in the order of that lock. At any instant at most one lease of a shard can settle. A key stays in its shard.
 */
export interface OutboxStore {
  /** The kind of store: `postgresql` or `memory`. */
  readonly name: string
  /** Checks the store. @throws HoldfastError `bad-schema` when only an operator can help. Any other error: not reachable now. */
  check(options?: OutboxCallOptions): Promise<void>
  /** Registers this relay for `leaseMs`, and returns its share of the shards. */
  attend(owner: string, leaseMs: number, options?: OutboxCallOptions): Promise<Attendance>
  /** Leases one free shard that is not in `held`. Resolves to `null` if there is none. */
  claim(
    owner: string,
    leaseMs: number,
    held: readonly number[],
    options?: OutboxCallOptions,
  ): Promise<OutboxLease | null>
  /** Removes this relay. The others get its share. */
  leave(owner: string, options?: OutboxCallOptions): Promise<void>
  /** Frees the space of messages that every shard has read. Any relay may call it at any time. */
  rotate(options?: OutboxCallOptions): Promise<readonly Rotation[]>
  status(options?: OutboxCallOptions): Promise<OutboxStatus>
}

export interface OutboxCallOptions {
  /** After an abort the caller no longer waits for the answer. A store may end the call early. */
  readonly signal?: AbortSignal
}

export interface Attendance {
  readonly shards: number
  /** The number of shards that this relay should hold. */
  readonly share: number
  readonly relays: number
  /** Why nothing may be published or cleaned up until an operator acts: a restored dump or a copied database. */
  readonly refused: string | null
}

/** One shard while its lease lasts. Make one call at a time; only `renew` may overlap. */
export interface OutboxLease {
  readonly shard: number
  /** A number that grows with every lease of the shard. */
  readonly epoch: bigint
  /**
   * Reads the next messages in order; none if nothing is new. Settle the earlier ones first.
   * Returns at most `maxRows` messages and at most `maxBytes`; the first message may be larger.
   */
  read(maxRows: number, maxBytes: number): Promise<readonly OutboxRow[] | 'lost'>
  /**
   * Marks the last read messages as published, and sets the `dead` ones aside. This lease does not read them again. The
   * next lease may, since the store need not record it at once.
   */
  settle(dead: readonly DeadRow[]): Promise<'ok' | 'lost'>
  /** Extends the lease. May be called while another call runs. */
  renew(): Promise<'ok' | 'lost'>
  /** Moves delayed messages that are due into the shard, ordered by due time. Returns how many. */
  moveDue(maxRows: number): Promise<number>
  /** Records what was settled and releases the shard at once. */
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
  /** When the message was added, in ms since 1970 by the store's clock. */
  readonly timeMs: number
  /** The age of the message when it was read, in ms. */
  readonly ageMs: number
  /** Its number in the order in which its shard is published, the same at a repeat. Only where the store was asked for it. */
  readonly sequence?: { readonly source: string; readonly number: number }
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
  /** Messages that are committed and not settled. Counted only up to `pendingLimit`, since a full count is expensive. */
  readonly pending: number
  readonly pendingLimit: number
  /** The age of the oldest counted message in ms. `null` if there is none. */
  readonly oldestAgeMs: number | null
  readonly delayed: number
  readonly dead: number
}

export interface ShardStatus {
  readonly shard: number
  readonly owner: string | null
  readonly epoch: bigint
  /** False if the shard's lease expired and no relay has taken the shard. */
  readonly held: boolean
}
