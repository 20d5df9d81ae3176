import { keepAtMost } from './bounded.ts'
import { plainText } from './text.ts'

export type ErrorCode =
  | 'permanent'
  | 'retry-later'
  | 'bad-option'
  | 'bad-order'
  | 'timed-out'
  | 'abandoned'
  | 'failed-before'
  | 'key-conflict'
  | 'commit-refused'
  | 'transaction-ended'
  | 'session-lost'
  | 'publish-failed'
  | 'unavailable'
  | 'bad-schema'
  | 'stopped'

// Registered, so that it is the same in every copy of this package and in every realm of a process.
const brand = Symbol.for('holdfast.error')

/**
 * The base of every error of this library. Tell errors apart by `code`; `cause` is kept. A subclass may set its own `name`:
 * the guards below read a mark that all copies of this package share, not the name.
 */
export class HoldfastError extends Error {
  readonly code: ErrorCode
  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'HoldfastError'
    this.code = code
  }

  /** @internal */
  get [brand](): true {
    return true
  }
}

/** Says "do not retry": the message is dead-lettered at once. */
export class PermanentError extends HoldfastError {
  constructor(message: string, options?: ErrorOptions) {
    super('permanent', message, options)
    this.name = 'PermanentError'
  }
}

/**
 * What waits. `message`: this message alone; it may be parked. `lane`: all messages of its key, for example while another
 * process holds the claim. `pipeline`: all messages, while a circuit is open or a store or the dead letter is down.
 */
export type Holds = 'message' | 'lane' | 'pipeline'

export interface RetryLaterOptions extends ErrorOptions {
  /** @defaultValue `'message'` */
  readonly holds?: Holds
  /** For the log: what the message waits for. Never put a body or a secret here. */
  readonly because?: string
  /**
   * Whether the attempt counts. Set it for a failure that the message may have caused itself, such as a lost database
   * session: after `maxAttempts` of them the message is dead-lettered. @defaultValue `false`
   */
  readonly counts?: boolean
  /** In a pipeline with `parking()`: parks the message however short its wait is. @defaultValue `false` */
  readonly parks?: boolean
}

const unknownWaitMs = 1000

/**
 * Nacks the message with a delay in ms. The attempt does not count unless `counts` is true, and this error itself is never
 * dead-lettered. A negative delay becomes 0; a delay that is not a finite number becomes 1,000.
 */
export class RetryLater extends HoldfastError {
  readonly afterMs: number
  readonly holds: Holds
  readonly counts: boolean
  readonly parks: boolean
  constructor(
    afterMs: number,
    { holds = 'message', because = 'retry later', counts = false, parks = false, ...options }: RetryLaterOptions = {},
  ) {
    super('retry-later', because, options)
    this.name = 'RetryLater'
    // A wait that is no number must not bring the message back at once, again and again.
    this.afterMs = Number.isFinite(afterMs) ? Math.max(0, afterMs) : unknownWaitMs
    this.holds = holds
    this.counts = counts
    this.parks = parks
  }
}

/** The handler kept running after its signal aborted, and was given up. `settled` resolves when the handler ends. */
export class AbandonedError extends HoldfastError {
  readonly settled: Promise<unknown>
  constructor(message: string, settled: Promise<unknown>, options?: ErrorOptions) {
    super('abandoned', message, options)
    this.name = 'AbandonedError'
    this.settled = settled
  }
}

export interface PublishFailure {
  /** The index of the message in the list passed to `publish`. */
  readonly index: number
  readonly error: unknown
  /** True if publishing it again would fail again: too large, unknown destination or refused by the broker. */
  readonly permanent: boolean
}

/** Some messages were not published. `failures` names them; the broker confirmed all others. */
export class PublishError extends HoldfastError {
  readonly failures: readonly PublishFailure[]
  constructor(message: string, failures: readonly PublishFailure[], options?: ErrorOptions) {
    super('publish-failed', message, options)
    this.name = 'PublishError'
    this.failures = failures
  }
}

/** Why a message was given up. */
export type FailureReason = (typeof failureReasons)[number]
export const failureReasons = ['permanent', 'attempts', 'undecodable', 'conflict', 'crashed', 'unhandled'] as const

/** Checks a reason read from a stored record or a header. */
export function isFailureReason(value: unknown): value is FailureReason {
  return failureReasons.some((reason) => reason === value)
}

/** What the claim's record and the dead letter keep of an error. Text is cut to 1 KB. There is no stack. */
export interface Failure {
  readonly reason: FailureReason
  readonly errorName: string
  readonly errorMessage: string
  /** The error's own `code` if it has one: `23505`, `ECONNREFUSED`. */
  readonly errorCode?: string
  /** How many times the handler was started. */
  readonly attempts: number
}

/** An earlier delivery of this key failed for good, so the handler does not run again. Carries the failure recorded then. */
export class FailedBeforeError extends HoldfastError {
  readonly failure: Failure
  constructor(message: string, failure: Failure) {
    super('failed-before', message)
    this.name = 'FailedBeforeError'
    this.failure = failure
  }
}

/** Whether it is an error of this library. Works across copies of the package and across realms. */
export function isHoldfastError(error: unknown): error is HoldfastError {
  try {
    return isObject(error) && Reflect.get(error, brand) === true && typeof Reflect.get(error, 'code') === 'string'
  } catch {
    // A getter or a proxy that throws is somebody else's.
    return false
  }
}
// Each guard also looks at what its callers go on to use: an error may have been changed after it was made.
export function isRetryLater(error: unknown): error is RetryLater {
  return hasCode(error, 'retry-later', ({ afterMs, holds }) => Number.isFinite(afterMs) && isHolds(holds))
}
export function isAbandoned(error: unknown): error is AbandonedError {
  return hasCode(
    error,
    'abandoned',
    ({ settled }) => isObject(settled) && typeof Reflect.get(settled, 'then') === 'function',
  )
}
export function isFailedBefore(error: unknown): error is FailedBeforeError {
  return hasCode(
    error,
    'failed-before',
    ({ failure }) => isObject(failure) && isFailureReason(Reflect.get(failure, 'reason')),
  )
}
export function isPublishError(error: unknown): error is PublishError {
  return hasCode(error, 'publish-failed', ({ failures }) => Array.isArray(failures) && failures.every(isObject))
}

function hasCode(
  error: unknown,
  code: ErrorCode,
  isWhole: (error: Readonly<Record<string, unknown>>) => boolean,
): boolean {
  return isHoldfastError(error) && error.code === code && isWhole({ ...error })
}

function isHolds(value: unknown): value is Holds {
  return value === 'message' || value === 'lane' || value === 'pipeline'
}

export function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

/** Whether a retry can only fail again. */
export function isPermanent(error: unknown): boolean {
  return isHoldfastError(error) && permanent.has(error.code)
}
const permanent: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  ...(['permanent', 'failed-before', 'key-conflict'] as const),
  // What the handler committed by itself would be committed again.
  'transaction-ended',
])

/** The claim under which a message failed. */
export interface ClaimName {
  readonly scope: string
  readonly key: string
}

const claims = new WeakMap<object, ClaimName & { readonly messageId: string }>()

/** Notes under which claim an error came about, for the dead letter that stands further out. */
export function noteClaim(error: unknown, messageId: string, scope: string, key: string): void {
  if (typeof error === 'object' && error !== null) claims.set(error, { messageId, scope, key })
}

export function claimBehind(error: unknown, messageId: string): ClaimName | undefined {
  const noted = typeof error === 'object' && error !== null ? claims.get(error) : undefined
  return noted?.messageId === messageId ? noted : undefined
}

interface Verdict {
  readonly messageId: string
  readonly attempts: number
  readonly reason: FailureReason | null
}
// Beside the error rather than on it: the handler's own error is what surfaces, untouched. By message, since one error
// object may be thrown for many of them at a time.
const verdicts = new WeakMap<object, Map<string, Verdict>>()
// What is thrown and is no object has no identity: the last value of a message is kept with its verdict.
const onValues = new Map<string, Verdict & { readonly value: unknown }>()
const mostPerError = 1_000

/** Notes what a stage found out about an error on its way out: how many attempts there were, and why it is final. */
export function judge(error: unknown, verdict: Verdict): void {
  if (typeof error !== 'object' || error === null) return note(onValues, { ...verdict, value: error })
  const byMessage = verdicts.get(error) ?? new Map<string, Verdict>()
  verdicts.set(error, byMessage)
  note(byMessage, verdict)
}

/** Keeps the latest: an error object that lives as long as the process must not keep every message. */
function note<V extends Verdict>(kept: Map<string, V>, verdict: V): void {
  kept.delete(verdict.messageId)
  kept.set(verdict.messageId, verdict)
  keepAtMost(mostPerError, kept)
}

/** How many attempts counted before this error, as far as any stage noted it for this message. */
export function attemptsBefore(error: unknown, messageId: string): number | undefined {
  return verdictOn(error, messageId)?.attempts
}

/** What is kept of an error that is final for a message. */
export function failureFrom(error: unknown, messageId: string, attempts: number): Failure {
  if (isFailedBefore(error)) return error.failure
  const verdict = verdictOn(error, messageId)
  return {
    reason: verdict?.reason ?? reasonOf(error),
    ...textOf(error),
    ...codeOf(error),
    attempts: verdict?.attempts ?? attempts,
  }
}

/** Ours say no more with their code than with the reason. */
function codeOf(error: unknown): Pick<Failure, 'errorCode'> {
  try {
    if (!isObject(error) || isHoldfastError(error)) return {}
    const code: unknown = Reflect.get(error, 'code')
    return typeof code === 'string' || typeof code === 'number' ? { errorCode: String(code).slice(0, 64) } : {}
  } catch {
    return {}
  }
}

/**
 * Name and text of what was thrown: an error class, an error of another realm, or anything else. What cannot be read is
 * named as such: it must not keep its message from being given up.
 */
export function textOf(error: unknown): Pick<Failure, 'errorName' | 'errorMessage'> {
  try {
    if (!isObject(error)) return { errorName: typeof error, errorMessage: plainText(String(error)) }
    const name: unknown = Reflect.get(error, 'name')
    const message: unknown = Reflect.get(error, 'message')
    return {
      errorName: typeof name === 'string' ? plainText(name) : typeof error,
      // eslint-disable-next-line @typescript-eslint/no-base-to-string -- its own text, as it has no message
      errorMessage: plainText(typeof message === 'string' ? message : String(error)),
    }
  } catch {
    return { errorName: typeof error, errorMessage: 'the thrown value cannot be read' }
  }
}

function verdictOn(error: unknown, messageId: string): Verdict | undefined {
  if (typeof error === 'object' && error !== null) return verdicts.get(error)?.get(messageId)
  const verdict = onValues.get(messageId)
  return verdict !== undefined && Object.is(verdict.value, error) ? verdict : undefined
}

function reasonOf(error: unknown): FailureReason {
  if (!isHoldfastError(error)) return 'unhandled'
  if (error.code === 'key-conflict') return 'conflict'
  return isPermanent(error) ? 'permanent' : 'unhandled'
}
