import type { Origin } from '../core/delivery.ts'
import type { FailureReason } from '../core/errors.ts'
import type { Bytes, Headers } from '../core/message.ts'
import type { Publisher, PublishOptions } from '../core/publisher.ts'
import type { Death } from './history.ts'

/** A message that was a dead letter, was redriven, and has now been handled. */
export interface ResolvedLetter {
  readonly pipeline: string
  /** Where the message came from when it was handled first. */
  readonly destination: string
  readonly id: string
  readonly key: string | null
  readonly body: Bytes
  /** Which redrive brought it. */
  readonly generation: number
}

/**
 * A place for dead letters that also wants to know when a redriven message was handled. `deadLetter()` tells it before the
 * ack, once and with its best effort: what is not told shows at the next redrive, where the key is found completed.
 */
export interface DeadLetterStore extends Publisher {
  resolved(letters: readonly ResolvedLetter[], options?: PublishOptions): Promise<void>
}

export function isDeadLetterStore(publisher: Publisher): publisher is DeadLetterStore {
  return 'resolved' in publisher && typeof publisher.resolved === 'function'
}

/**
 * `dead`: waits for a person. `redriving`: sent, and its end is not known yet. The others are final: `resolved` (handled),
 * `replaced` (edited: another letter goes on) and `dropped` (given up by a person).
 */
export type LetterState = 'dead' | 'redriving' | 'resolved' | 'replaced' | 'dropped'

/** What a list shows of a letter. Texts are cut. */
export interface LetterSummary {
  /** The operator's handle: grows with first deaths. */
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

/** One letter, whole. */
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
  /** What the last redrive of it was given, and the newest whose end is known. */
  readonly generation: number
  readonly settled: number
  /** What the store says of its key: `failed`, `completed`, …; `null` where it is forgotten or kept elsewhere. */
  readonly claimState: string | null
  /** Which key its body is encrypted with; `null` where it is not. */
  readonly bodyKey: string | null
}

/** Which letters. All that is given must match; nothing given matches every letter. */
export interface LetterFilter {
  readonly ids?: readonly string[]
  readonly pipeline?: string
  readonly group?: string
  readonly key?: string
  readonly messageId?: string
  readonly reason?: FailureReason
  readonly traceId?: string
  readonly subject?: string
  /** Anywhere in the error's name or message. Slow over all letters: give a time too. */
  readonly text?: string
  readonly sinceMs?: number
  readonly untilMs?: number
}

export interface LetterPage {
  readonly letters: readonly LetterSummary[]
  /** Give it as `before` for the next page; `null` at the end. */
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

/** Letters whose errors have one shape, in one pipeline. */
export interface LetterGroup {
  readonly group: string
  readonly pipeline: string
  readonly letters: number
  readonly firstMs: number
  readonly lastMs: number
  /** What all of them say, with what differs taken out. */
  readonly shape: string
  readonly errorName: string
  /** Of the newest. */
  readonly errorMessage: string
}

export interface LetterEdit {
  readonly body?: Bytes
  /** Set; `null` removes. */
  readonly headers?: Readonly<Record<string, string | null>>
  /** @defaultValue a fresh one */
  readonly messageId?: string
}

export type RedriveRoute = 'pipeline' | 'destination'
export type RedriveState = 'running' | 'paused' | 'cancelled' | 'done'
export type RedriveResult = 'resolved' | 'sent' | 'dead' | 'guarded' | 'skipped' | 'cancelled'

export interface RedriveOptions {
  /**
   * `pipeline`: a worker in the service hands the letter to the pipeline that failed. `destination`: it is published to
   * where it came from; other groups there handle it twice. @defaultValue `'pipeline'`
   */
  readonly route?: RedriveRoute
  /** Of all workers together. @defaultValue no limit */
  readonly perSecond?: number
  /** So many letters first; then it pauses until it is resumed. @defaultValue none */
  readonly canary?: number
  /** A letter that was redriven so often is left to a person. @defaultValue 3 */
  readonly maxRedrives?: number
}

/** What a redrive of these letters would do now. */
export interface RedrivePreview {
  readonly matched: number
  /** Matched, and free to be taken. */
  readonly free: number
  /** Taken by a redrive that is not over. */
  readonly taken: number
  /** Redriven too often already: they are left to a person. */
  readonly guarded: number
  /** Their key is completed already: they will not run again. */
  readonly completed: number
  /** Their key has another content: only an edited letter can run. */
  readonly conflicts: number
  readonly keys: number
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
  /** Without a result yet. */
  readonly open: number
  readonly results: Readonly<Partial<Record<RedriveResult, number>>>
  readonly createdMs: number
  readonly endedMs: number | null
}

/** A key of a pipeline within a redrive, held by one worker for as long as its lease lasts. */
export interface Lane {
  readonly lane: string
  readonly token: string
}

/** A letter that a worker is to send, under a generation that was given to it alone. */
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
 * What redrive workers need of a store. The guarantee: a generation is given once, by a statement that asks whether the
 * letter is dead; in a redrive a letter is begun only when all earlier ones of its key have a result; a worker whose lease
 * has lapsed changes nothing.
 */
export interface RedriveStore {
  active(): Promise<readonly ActiveRedrive[]>
  /** Lanes that are due, of these pipelines, or of all of them. */
  claimLanes(redrive: string, most: number, claim: LaneClaim): Promise<readonly Lane[]>
  /** The next letters of these lanes, in order; items whose letters need no sending get their result on the way. */
  begin(redrive: string, lanes: readonly Lane[], perLane: number): Promise<readonly Begun[]>
  /** How many ms to wait before so many letters may be sent; `null` where the redrive no longer runs. */
  reserve(redrive: string, letters: number): Promise<number | null>
  renew(redrive: string, lanes: readonly Lane[], leaseMs: number): Promise<number>
  /** Gives the letters their result, and the lane back unless it is kept. `lost`: the lease was lost, and nothing changed. */
  advance(
    redrive: string,
    lane: Lane,
    settled: readonly SettledItem[],
    options?: AdvanceOptions,
  ): Promise<'more' | 'over' | 'lost'>
  /** The same for many lanes, all of whose letters have one result. Lanes whose lease was lost stay as they are. */
  advanceMany(redrive: string, lanes: readonly Lane[], letters: readonly string[], result: RedriveResult): Promise<void>
  /** The lane waits. */
  wait(redrive: string, lane: Lane, ms: number): Promise<void>
  /** Ends a redrive that has nothing left, or pauses it where its canary is over. */
  finish(redrive: string): Promise<RedriveState | null>
  resolved(letters: readonly ResolvedLetter[]): Promise<void>
  /** It died again where this store was not told. */
  diedAgain(letter: string, generation: number): Promise<void>
  /** Letters of which nothing was heard, but whose key is completed, are resolved. Says how many. */
  reconcile(): Promise<number>
  /** Deletes what was final for long enough, and says how many letters. */
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
  /** The key ends here: what is left of it is skipped. */
  readonly stop?: boolean
  /** The worker goes on with the lane. */
  readonly keepForMs?: number
}

/** What operators do with letters. Each act is written to the operator log with `by`. */
export interface LetterOperations {
  list(filter: LetterFilter, options?: ListOptions): Promise<LetterPage>
  count(filter: LetterFilter): Promise<number>
  groups(filter: LetterFilter, limit?: number): Promise<readonly LetterGroup[]>
  /** `undefined` where there is none. */
  letter(id: string): Promise<Letter | undefined>
  preview(filter: LetterFilter, options?: RedriveOptions): Promise<RedrivePreview>
  /** `undefined` where nothing is free to be taken. */
  create(filter: LetterFilter, options: RedriveOptions | undefined, by: string): Promise<Redrive | undefined>
  redrives(page?: { readonly limit?: number; readonly before?: string }): Promise<readonly Redrive[]>
  redrive(id: string): Promise<Redrive | undefined>
  redriveItems(id: string, page?: { readonly limit?: number; readonly after?: string }): Promise<readonly RedriveItem[]>
  /** The state that it has afterwards; `undefined` where there is none. */
  pause(redrive: string, by: string): Promise<RedriveState | undefined>
  resume(redrive: string, by: string): Promise<RedriveState | undefined>
  cancel(redrive: string, by: string): Promise<RedriveState | undefined>
  /** The letters that were dropped: those that were dead. */
  drop(filter: LetterFilter, by: string): Promise<readonly string[]>
  /** Takes a drop back. */
  restore(ids: readonly string[], by: string): Promise<readonly string[]>
  /** Dead again, for letters that were sent and of which nothing was heard. */
  reopen(ids: readonly string[], by: string): Promise<readonly string[]>
  /** A new letter with another id, linked to the old one, which ends. `undefined` where it changed meanwhile. */
  edit(letter: string, settled: number, edit: LetterEdit, by: string): Promise<string | undefined>
  /** Empties every letter of a subject, for good, and says how many there were. Their marks stay, so that a redelivery writes nothing back. */
  erase(options: { readonly subject: string }, by: string): Promise<number>
  /** Deletes what was final for long enough. */
  clean(): Promise<number>
  /** Encrypts bodies with the present key that are encrypted with another one or not at all, and says how many. */
  rotate(limit?: number): Promise<number>
  /** Gives letters whose group is of older rules the group of the present ones. */
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

/** One act of an operator. */
export interface OperatorAct {
  readonly id: string
  readonly atMs: number
  readonly by: string
  readonly act: string
  readonly letter: string | null
  readonly redrive: string | null
  readonly detail: unknown
}
