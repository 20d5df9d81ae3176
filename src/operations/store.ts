import type { FailureReason } from '../core/errors.ts'
import type { Letter, LetterOperations } from '../dead-letter/store.ts'
import type { OutboxStatus } from '../outbox/store.ts'
import type { CircuitLine } from '../retry/store.ts'

/** All that operators read from a database and do to it. The command line and the page use only this. */
export interface OperatorStore {
  readonly letters: LetterOperations
  /** The applied migrations, by name. Empty if there are no tables. */
  schema(): Promise<SchemaState>
  /** `undefined` if there is no outbox. */
  outbox(): Promise<OutboxStatus | undefined>
  /** Messages that the broker refused for good, oldest first. */
  outboxDead(page?: { readonly limit?: number; readonly after?: string }): Promise<readonly OutboxDeadRow[]>
  /** Puts refused messages back at the end of the outbox. */
  outboxReplay(positions: readonly string[], by: string): Promise<number>
  /** Deletes refused messages. */
  outboxSkip(positions: readonly string[], by: string): Promise<number>
  /** Claims in progress, among the newest keys. The lease that ended longest ago comes first. */
  keys(options?: KeysOptions): Promise<readonly ClaimRecord[]>
  /** How far {@link OperatorStore.keys} looks. `undefined`, or missing: at all keys. */
  keysBound?(options?: Pick<KeysOptions, 'lookAt'>): Promise<KeysBound | undefined>
  /** Releases a key whose lease has ended. `force`: also a held key. Its holder can then change nothing. */
  unblock(
    scope: string,
    key: string,
    by: string,
    options?: { readonly force?: boolean },
  ): Promise<'ok' | 'held' | 'none'>
  /** What is known of a key, in one scope or in all. */
  claims(key: string, scope?: string): Promise<readonly ClaimRecord[]>
  /** Deletes a key. Its message may run again, as if it had never come. */
  forget(scope: string, key: string, by: string): Promise<boolean>
  /** Shared circuits, open ones first. Empty if there are no tables of circuits. Missing if the store knows none. */
  circuits?(): Promise<readonly CircuitLine[]>
  /** Keys whose messages wait behind one that failed, longest waiting first. Missing if the store parks nothing. */
  parked?(page?: ParkedOptions): Promise<readonly ParkedLane[]>
  /** The messages of one parked key, in order. */
  parkedMessages?(scope: string, lane: string, limit?: number): Promise<readonly ParkedMessage[]>
  /** Lets a blocked key go on: its first message runs again. `held`: a worker has it. `none`: it is not blocked. */
  unblockLane?(scope: string, lane: string, by: string): Promise<'ok' | 'held' | 'none'>
  /**
   * Drops the first message of a blocked key, as it was shown (`claimKey`), and the key goes on; or all messages of a key that
   * no worker holds. Returns how many were dropped.
   */
  dropParked?(scope: string, lane: string, by: string, what: { readonly claimKey: string } | 'all'): Promise<number>
  /** What {@link erase} would erase. */
  erasable?(subject: string): Promise<Erased>
  /**
   * Erases a subject for good: empties its letters, and deletes the parked messages and the rows of the outbox whose key it
   * is. A message that a worker handles at this moment is left. The operator log keeps the counts, not the subject.
   */
  erase?(subject: string, by: string): Promise<Erased>
  /** Every trace that a message left, unordered. */
  traces(messageId: string): Promise<MessageTraces>
  /** How long journal rows are kept, in ms. */
  cleanJournal(olderThanMs: number): Promise<number>
  writeJournal(entries: readonly JournalEntry[]): Promise<void>
}

/** How many of each were erased. */
export interface Erased {
  readonly letters: number
  readonly parked: number
  /** Rows that wait, are delayed, or were refused by the broker. */
  readonly outbox: number
  /** Rows that could not be erased now: a worker holds the key, or PostgreSQL deletes no row of the outbox. Erase again. */
  readonly left: number
}

export interface SchemaState {
  readonly applied: readonly { readonly version: number; readonly name: string; readonly atMs: number }[]
  /** Steps that this version of the library would apply. `needed`: not of a feature that the schema was made without. */
  readonly missing: readonly { readonly version: number; readonly name: string; readonly needed: boolean }[]
  /** Steps of a later version of the library. */
  readonly newer: readonly { readonly version: number; readonly name: string }[]
}

export interface KeysOptions {
  /** Shows only claims whose lease ended at least that many ms ago. 0 shows held ones too. @defaultValue 60_000 */
  readonly staleMs?: number
  readonly scope?: string
  /** @defaultValue 50 */
  readonly limit?: number
  /** Most keys to look at, those that came last: no index knows who holds a key. @defaultValue 2_000_000 */
  readonly lookAt?: number
}

export interface KeysBound {
  /** So many keys are looked at, those that came last. */
  readonly newest: number
  /** An estimate of how many there are. */
  readonly of: number
}

export interface ClaimRecord {
  readonly scope: string
  readonly key: string
  readonly state: 'in-progress' | 'completed' | 'failed' | 'released'
  readonly attempts: number
  readonly token: string
  readonly generation: number
  readonly owner: string | null
  /** In progress: when the lease ends or ended. Released: when that was. */
  readonly leaseMs: number | null
  /** Completed and failed: when that is forgotten. */
  readonly retainedMs: number | null
  readonly failure: { readonly reason: FailureReason; readonly errorName: string; readonly errorMessage: string } | null
}

export interface ParkedOptions {
  /** @defaultValue 50 */
  readonly limit?: number
  /** The pipeline. */
  readonly scope?: string
  readonly key?: string
  /** One lane by its name. */
  readonly lane?: string
  /** Only keys that wait for an operator. @defaultValue `false` */
  readonly blocked?: boolean
}

/** A message that is kept aside. */
export interface ParkedMessage {
  readonly claimScope: string
  readonly claimKey: string
  readonly generation: number
  readonly attempts: number
  readonly bytes: number
  readonly sinceMs: number
  readonly error: string | null
}

/** A key whose messages are kept aside until the first of them is handled. */
export interface ParkedLane {
  /** The pipeline that parked it. */
  readonly scope: string
  /** The name under which it is kept: destination and key. */
  readonly lane: string
  /** Whether a worker runs it now. */
  readonly held: boolean
  /** The key of its first message's claim. */
  readonly claimKey: string
  readonly key: string
  readonly messages: number
  readonly sinceMs: number
  /** When its first message is tried again. `null` if that waits for an operator. */
  readonly nextMs: number | null
  readonly attempts: number
  /** Why its first message waits. */
  readonly error: string | null
}

/** A circuit breaker as it stands now. */
export interface CircuitRecord {
  readonly name: string
  readonly state: 'closed' | 'open' | 'half-open'
  readonly sinceMs: number | null
  /** What the circuit waits for, or why it opened. */
  readonly detail: string | null
}

export interface OutboxDeadRow {
  readonly position: string
  readonly destination: string
  readonly key: string | null
  readonly messageId: string
  readonly error: string
  readonly addedMs: number
  readonly diedMs: number
}

export interface OutboxTrace {
  readonly position: string
  readonly destination: string
  /** `waiting`: not published yet, or published and not cleaned up yet. */
  readonly state: 'waiting' | 'delayed' | 'refused'
  readonly atMs: number
  readonly error: string | null
}

/** A message that is kept aside. */
export interface ParkedTrace {
  readonly pipeline: string
  readonly lane: string
  readonly claimKey: string
  /** Messages of its key that come before it. */
  readonly ahead: number
  readonly attempts: number
  readonly error: string | null
  readonly sinceMs: number
  /** When the first message of its key is tried again. `null` if that waits for an operator. */
  readonly nextMs: number | null
  /** Whether a worker runs the key now. */
  readonly held: boolean
}

export interface RedriveTrace {
  readonly redrive: string
  readonly letter: string
  readonly by: string
  readonly result: string | null
  readonly generation: number | null
  readonly atMs: number
}

export interface JournalEntry {
  readonly messageId: string
  readonly pipeline: string
  readonly what: string
  readonly attempt: number
  readonly atMs: number
  readonly detail: string | null
}

export interface MessageTraces {
  readonly letters: readonly Letter[]
  readonly claims: readonly ClaimRecord[]
  readonly redrives: readonly RedriveTrace[]
  readonly outbox: readonly OutboxTrace[]
  readonly parked: readonly ParkedTrace[]
  readonly journal: readonly JournalEntry[]
  readonly acts: readonly {
    readonly atMs: number
    readonly by: string
    readonly act: string
    readonly letter: string
  }[]
  /** Places where the search was cut short, because the outbox has no index on ids. */
  readonly incomplete: readonly string[]
}

export interface Finding {
  readonly check: string
  /** `unknown`: the check could not look. */
  readonly level: 'problem' | 'warning' | 'unknown'
  readonly what: string
  /** The SQL or the setting that mends it. */
  readonly fix: string | null
}

/** What a check found, without its name. */
export type Found = Omit<Finding, 'check'>

/** One check. It changes nothing. */
export interface Check {
  readonly name: string
  run(): Promise<readonly Found[]>
}
