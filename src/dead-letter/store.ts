import type { Origin } from '../core/delivery.ts'
import type { FailureReason } from '../core/errors.ts'
import type { Bytes, Headers } from '../core/message.ts'
import type { Publisher, PublishOptions } from '../core/publisher.ts'
import type { Death } from './history.ts'

/** A dead letter that was redriven and has now been handled. */
export interface ResolvedLetter {
  readonly pipeline: string
  /** Where the message came from when it was handled first. */
  readonly destination: string
  readonly id: string
  readonly key: string | null
  readonly body: Bytes
  /** The generation of the redrive that brought the message. */
  readonly generation: number
}

/**
 * A dead-letter store that is told when a redriven message was handled. `deadLetter()` tells it once before the ack, on a
 * best-effort basis. If the report is lost, the next redrive finds the key completed.
 */
export interface DeadLetterStore extends Publisher {
  resolved(letters: readonly ResolvedLetter[], options?: PublishOptions): Promise<void>
}

export function isDeadLetterStore(publisher: Publisher): publisher is DeadLetterStore {
  return 'resolved' in publisher && typeof publisher.resolved === 'function'
}

/**
 * `dead`: waits for an operator. `redriving`: sent, and the result is not known yet. The others are final: `resolved`
 * (handled), `replaced` (edited: a new letter took its place) and `dropped` (discarded by an operator).
 */
export type LetterState = 'dead' | 'redriving' | 'resolved' | 'replaced' | 'dropped'

/** A letter in a list. Texts are cut. */
export interface LetterSummary {
  /** The operator's id of the letter. Ids grow in the order of first deaths. */
  readonly id: string
  readonly state: LetterState
  readonly pipeline: string
  readonly destination: string
  readonly messageId: string
  readonly key: string | null
  readonly reason: string
  readonly errorName: string
  readonly errorMessage: string
  readonly group: string
  readonly deaths: number
  readonly redrives: number
  readonly deadMs: number
}

/** One letter with all its details. */
export interface Letter extends LetterSummary {
  readonly origin: Origin
  readonly type: string
  readonly producedMs: number
  readonly headers: Headers
  readonly body: Bytes
  readonly errorCode: string | null
  readonly errorStack: string | null
  readonly attempts: number
  readonly traceId: string | null
  readonly subject: string | null
  readonly claimScope: string | null
  readonly claimKey: string | null
  readonly history: readonly Death[]
  readonly replaces: string | null
  readonly replacedBy: string | null
  readonly firstMs: number
  readonly changedMs: number
  /** The generation of the letter's last redrive. `settled` is the newest generation with a known result. */
  readonly generation: number
  readonly settled: number
  /** The state of its key in the idempotency store: `failed`, `completed`, …. `null` if the key expired or is in another store. */
  readonly claimState: string | null
  /** The name of the key that encrypts the body. `null` if the body is not encrypted. */
  readonly bodyKey: string | null
}

/** Selects letters. All given conditions must match. An empty filter matches every letter. */
export interface LetterFilter {
  readonly ids?: readonly string[]
  readonly pipeline?: string
  readonly group?: string
  readonly key?: string
  readonly messageId?: string
  readonly reason?: FailureReason
  readonly traceId?: string
  readonly subject?: string
  /** Text to find in the error's name or message. Slow over all letters: give a time range too. */
  readonly text?: string
  readonly sinceMs?: number
  readonly untilMs?: number
}

export interface LetterPage {
  readonly letters: readonly LetterSummary[]
  /** Pass it as `before` to get the next page. `null` on the last page. */
  readonly next: string | null
}

export interface ListOptions {
  /** @defaultValue 50 */
  readonly limit?: number
  readonly before?: string
  /** @defaultValue `['dead', 'redriving']` */
  readonly states?: readonly LetterState[]
  readonly order?: 'newest' | 'oldest'
}

/** Letters of one pipeline whose errors have the same shape. */
export interface LetterGroup {
  readonly group: string
  readonly pipeline: string
  readonly letters: number
  readonly firstMs: number
  readonly lastMs: number
  /** The common error message, without the parts that differ. */
  readonly shape: string
  readonly errorName: string
  /** The error message of the newest letter. */
  readonly errorMessage: string
}

export interface LetterTally {
  readonly letters: number
  readonly groups: readonly LetterGroup[]
}

export interface LetterEdit {
  readonly body?: Bytes
  /** Headers to set. `null` removes a header. */
  readonly headers?: Readonly<Record<string, string | null>>
  /** @defaultValue a fresh one */
  readonly messageId?: string
}

export type RedriveRoute = 'pipeline' | 'destination'
export type RedriveState = 'running' | 'paused' | 'cancelled' | 'done'
export type RedriveResult = 'resolved' | 'sent' | 'dead' | 'guarded' | 'skipped' | 'cancelled'

export interface RedriveOptions {
  /**
   * `pipeline`: a worker in the service gives the letter to the pipeline that failed. `destination`: the letter is published
   * to its original destination, where other groups handle it again. @defaultValue `'pipeline'`
   */
  readonly route?: RedriveRoute
  /** Most letters a second, over all workers. @defaultValue no limit */
  readonly perSecond?: number
  /** Number of letters to send first. The redrive then pauses until an operator resumes it. @defaultValue none */
  readonly canary?: number
  /** Most redrives of one letter. After that it is left to an operator. @defaultValue 3 */
  readonly maxRedrives?: number
}

/** What a redrive of the matching letters would do now. */
export interface RedrivePreview {
  readonly matched: number
  /** Letters that match and can be redriven. */
  readonly free: number
  /** Letters that belong to another unfinished redrive. */
  readonly taken: number
  /** Letters whose key has other content. A redrive leaves them out: they can run only after an edit. */
  readonly conflicts: number
  /** Letters that were looked at one by one, oldest first. The next three are counted among them alone. */
  readonly looked: number
  /** Letters that reached `maxRedrives`. They are left to an operator. */
  readonly guarded: number
  /** Letters whose key is completed already. They will not run again. */
  readonly completed: number
  readonly keys: number
}

export interface PreviewOptions {
  /** Number of letters to look at one by one. @defaultValue 5000 */
  readonly most?: number
}

export interface Redrive {
  readonly id: string
  readonly state: RedriveState
  readonly route: RedriveRoute
  readonly by: string
  readonly filter: unknown
  readonly perSecond: number | null
  readonly canary: number | null
  readonly maxRedrives: number
  readonly total: number
  /** Letters without a result yet. */
  readonly open: number
  readonly results: Readonly<Partial<Record<RedriveResult, number>>>
  readonly createdMs: number
  readonly endedMs: number | null
}

/** One key of a pipeline within a redrive. One worker holds it while the lease lasts. */
export interface Lane {
  readonly lane: string
  readonly token: string
}

/** A letter for a worker to send, with a generation of its own. */
export interface Begun {
  readonly lane: string
  readonly generation: number
  readonly letter: Letter
}

export interface ActiveRedrive {
  readonly id: string
  readonly route: RedriveRoute
  readonly perSecond: number | null
}

/**
 * What redrive workers need of a store. The guarantees: a statement that checks that the letter is dead gives each
 * generation, once. In a redrive a letter begins only when all earlier letters of its key have a result. A worker whose
 * lease has lapsed changes nothing.
 */
export interface RedriveStore {
  active(): Promise<readonly ActiveRedrive[]>
  /** Claims lanes that are due, of the given pipelines or of all. */
  claimLanes(redrive: string, most: number, claim: LaneClaim): Promise<readonly Lane[]>
  /** Begins the next letters of these lanes, in order. Letters that need no sending get their result at once. */
  begin(redrive: string, lanes: readonly Lane[], perLane: number): Promise<readonly Begun[]>
  /** Returns the wait in ms before that many letters may be sent. `null` if the redrive no longer runs. */
  reserve(redrive: string, letters: number): Promise<number | null>
  renew(redrive: string, lanes: readonly Lane[], leaseMs: number): Promise<number>
  /** Records the result of the letters, and releases the lane unless it is kept. `lost`: the lease was lost; nothing changed. */
  advance(
    redrive: string,
    lane: Lane,
    settled: readonly SettledItem[],
    options?: AdvanceOptions,
  ): Promise<'more' | 'over' | 'lost'>
  /** Does the same for many lanes when all letters have the same result. Lanes with a lost lease do not change. */
  advanceMany(redrive: string, lanes: readonly Lane[], letters: readonly string[], result: RedriveResult): Promise<void>
  /** Makes the lane wait for `ms`. */
  wait(redrive: string, lane: Lane, ms: number): Promise<void>
  /** Ends a redrive that has no letters left, or pauses it after its canary. */
  finish(redrive: string): Promise<RedriveState | null>
  resolved(letters: readonly ResolvedLetter[]): Promise<void>
  /** Marks a letter dead that failed again without a report to this store. */
  diedAgain(letter: string, generation: number): Promise<void>
  /** Resolves letters without a report whose key is completed. Returns how many. */
  reconcile(): Promise<number>
  /** Deletes letters that were final for long enough. Returns how many. */
  clean(): Promise<number>
}

export interface LaneClaim {
  readonly owner: string
  readonly leaseMs: number
  readonly pipelines: readonly string[] | null
}

export interface SettledItem {
  readonly letter: string
  readonly result: RedriveResult
}

export interface AdvanceOptions {
  /** Skips the key's remaining letters in this redrive. */
  readonly stop?: boolean
  /** Keeps the lane with this worker for that many ms. */
  readonly keepForMs?: number
}

/** The operators' actions on letters. Each is written to the operator log with `by`. */
export interface LetterOperations {
  list(filter: LetterFilter, options?: ListOptions): Promise<LetterPage>
  count(filter: LetterFilter): Promise<number>
  groups(filter: LetterFilter, limit?: number): Promise<readonly LetterGroup[]>
  /** The largest groups, and how many letters there are in all of them: one pass for both. */
  tally(filter: LetterFilter, limit?: number): Promise<LetterTally>
  /** Returns one letter, or `undefined` if there is none. */
  letter(id: string): Promise<Letter | undefined>
  preview(filter: LetterFilter, options?: RedriveOptions, look?: PreviewOptions): Promise<RedrivePreview>
  /** Creates a redrive. `undefined` if no matching letter can be redriven. */
  create(filter: LetterFilter, options: RedriveOptions | undefined, by: string): Promise<Redrive | undefined>
  redrives(page?: { readonly limit?: number; readonly before?: string }): Promise<readonly Redrive[]>
  redrive(id: string): Promise<Redrive | undefined>
  redriveItems(id: string, page?: { readonly limit?: number; readonly after?: string }): Promise<readonly RedriveItem[]>
  /** Pauses a redrive and returns its new state. `undefined` if there is no such redrive. */
  pause(redrive: string, by: string): Promise<RedriveState | undefined>
  resume(redrive: string, by: string): Promise<RedriveState | undefined>
  cancel(redrive: string, by: string): Promise<RedriveState | undefined>
  /** Drops the matching letters that are dead. Returns their ids. */
  drop(filter: LetterFilter, by: string): Promise<readonly string[]>
  /** Undoes a drop. */
  restore(ids: readonly string[], by: string): Promise<readonly string[]>
  /** Makes letters dead again that were sent and got no result. A letter whose key is at work, or completed, stays as it is. */
  reopen(ids: readonly string[], by: string): Promise<readonly string[]>
  /** Replaces a letter with a new one that has another id and links to the old one. `undefined` if the letter changed meanwhile. */
  edit(letter: string, settled: number, edit: LetterEdit, by: string): Promise<string | undefined>
  /** Empties every letter of a subject for good. Returns how many. Their marks stay, so a redelivery writes nothing back. */
  erase(options: { readonly subject: string }, by: string): Promise<number>
  /** Deletes letters that were final for long enough. */
  clean(): Promise<number>
  /** Encrypts bodies with the current key if they have another key or none. Returns how many. */
  rotate(limit?: number): Promise<number>
  /** Regroups letters that were grouped by older rules. */
  regroup(limit?: number): Promise<number>
  log(page?: { readonly limit?: number; readonly before?: string }): Promise<readonly OperatorAct[]>
  note(act: {
    readonly by: string
    readonly act: string
    readonly letter?: string
    readonly detail?: unknown
  }): Promise<void>
}

export interface RedriveItem {
  readonly letter: string
  readonly result: RedriveResult | null
  readonly generation: number | null
  readonly redrive: string
  readonly by: string
  readonly createdMs: number
}

/** One action of an operator. */
export interface OperatorAct {
  readonly id: string
  readonly atMs: number
  readonly by: string
  readonly act: string
  readonly letter: string | null
  readonly redrive: string | null
  readonly detail: unknown
}
