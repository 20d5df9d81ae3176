import type { StatementRunner } from '../core/delivery.ts'

/**
 * Remembers, for each key, the newest message of an outbox that was handled.
 *
 * The guarantee: a mark never goes back; of two that are set at once the higher one stays. Marks are kept for longer than
 * a repeat can be late, or a stale one passes.
 */
export interface SequenceStore {
  /** Which kind of store it is: `postgresql`, `memory`. */
  readonly name: string
  /** How a position compares with the mark. */
  look(mark: Mark, options?: MarkOptions): Promise<Age>
  /** Moves the mark forwards to this position, and says how it compared with the mark before. */
  advance(mark: Mark, options?: MarkOptions): Promise<Age>
}

export interface MarkOptions {
  /** A call that was not sent when it aborts rejects and changes nothing. Nobody waits for the answer any more. */
  readonly signal?: AbortSignal
}

/** A store that can move the mark as part of the caller's own transaction. */
export interface TransactionalSequenceStore extends SequenceStore {
  advanceIn(tx: StatementRunner, mark: Mark): Promise<Age>
}

export interface Mark {
  /** Who handles: two pipelines never share a mark. */
  readonly scope: string
  readonly destination: string
  /** Which outbox the position is of: positions of two outboxes say nothing about each other. */
  readonly source: string
  readonly key: string
  readonly timeline: bigint
  readonly id: bigint
}

/** `newer` than what was handled, the `same`, or `stale`: handled is something later. */
export type Age = 'newer' | 'same' | 'stale'
