import type { StatementRunner } from '../core/delivery.ts'

/**
 * Keeps a mark for each key: the newest outbox message that was handled.
 *
 * The guarantee: a mark never goes back. Of two concurrent marks the higher one stays. Marks must be kept for longer than
 * a repeat can be late; otherwise a stale message passes.
 */
export interface SequenceStore {
  /** The kind of store: `postgresql` or `memory`. */
  readonly name: string
  /** Compares a position with the mark. */
  look(mark: Mark, options?: MarkOptions): Promise<Age>
  /** Moves the mark forwards to this position. Returns how the position compared with the mark before. */
  advance(mark: Mark, options?: MarkOptions): Promise<Age>
}

export interface MarkOptions {
  /** After an abort the caller no longer waits for the answer. A call not yet sent rejects and changes nothing. */
  readonly signal?: AbortSignal
}

/** A store that can move the mark in the caller's transaction. */
export interface TransactionalSequenceStore extends SequenceStore {
  advanceIn(tx: StatementRunner, mark: Mark): Promise<Age>
}

export interface Mark {
  /** The pipeline's name. Two pipelines never share a mark. */
  readonly scope: string
  readonly destination: string
  /** The outbox of the position. Positions of two outboxes cannot be compared. */
  readonly source: string
  readonly key: string
  readonly timeline: bigint
  readonly id: bigint
}

/** `newer`: later than the mark. `same`: equal to it. `stale`: a later message was handled before. */
export type Age = 'newer' | 'same' | 'stale'
