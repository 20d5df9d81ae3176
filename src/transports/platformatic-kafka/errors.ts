import { asError } from '../../core/as-error.ts'

/** An error and everything that it carries: its causes, and the errors that an aggregate holds. */
function* within(error: unknown, seen: Set<unknown> = new Set()): Generator<Error> {
  if (!(error instanceof Error) || seen.has(error)) return
  seen.add(error)
  yield error
  if (error instanceof AggregateError) for (const each of error.errors) yield* within(each, seen)
  yield* within(error.cause, seen)
}

/** The broker's name for what went wrong, such as `MESSAGE_TOO_LARGE`. Undefined where no broker answered. */
export function apiIdOf(error: unknown): string | undefined {
  for (const each of within(error)) if ('apiId' in each && typeof each.apiId === 'string') return each.apiId
  return undefined
}

/** Whether the error, or one that it carries, has this code of the client. */
export function hasCode(error: unknown, code: string): boolean {
  for (const each of within(error)) if ('code' in each && each.code === code) return true
  return false
}

/** Whether the metadata has no such topic. The client words it in two ways. */
export function isUnknownTopic(error: unknown): boolean {
  for (const each of within(error)) {
    if ('apiId' in each && each.apiId === 'UNKNOWN_TOPIC_OR_PARTITION') return true
    if (/unknown topic/i.test(each.message)) return true
  }
  return false
}

/** The broker's name for it, or the innermost message. */
export function reasonOf(error: unknown): string {
  return apiIdOf(error) ?? innermost(error)
}

export function innermost(error: unknown): string {
  return [...within(error)].at(-1)?.message ?? String(error)
}

/** Which setting a failed connection points to, in one sentence. */
export function connectingReason(error: unknown): string {
  const all = [...within(error)]
  const reason = innermost(error)
  if (hasCode(error, 'PLT_KFK_AUTHENTICATION') || apiIdOf(error) === 'SASL_AUTHENTICATION_FAILED')
    return `sasl: ${reason}`
  if (all.some(({ message }) => /\btls\b|\bssl\b|certificate/i.test(message))) return `tls: ${reason}`
  return `bootstrapBrokers: none can be reached: ${reason}`
}

/** Protocol errors that no retry mends: the consumer ends with them. */
const fatalErrors: ReadonlySet<string> = new Set([
  'GROUP_AUTHORIZATION_FAILED',
  'TOPIC_AUTHORIZATION_FAILED',
  'INCONSISTENT_GROUP_PROTOCOL',
  'INVALID_SESSION_TIMEOUT',
  'INVALID_GROUP_ID',
  'GROUP_MAX_SIZE_REACHED',
  'UNSUPPORTED_VERSION',
  'INVALID_REQUEST',
  'UNSUPPORTED_ASSIGNOR',
  'SASL_AUTHENTICATION_FAILED',
])

// Rights that were there when the member joined may be given back while it waits.
const withdrawn: ReadonlySet<string> = new Set(['GROUP_AUTHORIZATION_FAILED', 'TOPIC_AUTHORIZATION_FAILED'])

/** Whether the consumer ends with the error. */
export function isFatal(error: unknown, wasMember: boolean): boolean {
  const id = apiIdOf(error)
  return id !== undefined && fatalErrors.has(id) && !(wasMember && withdrawn.has(id))
}

/** With the broker's name for it: the client's own text names the request alone. */
export function explained(error: unknown): Error {
  const id = apiIdOf(error)
  if (id !== undefined) return new Error(`${id}: ${innermost(error)}`, { cause: error })
  return asError(error)
}

/** The group does not know this member, or not under this generation: only a new join helps. */
export const endedMembership: ReadonlySet<string> = new Set([
  'UNKNOWN_MEMBER_ID',
  'ILLEGAL_GENERATION',
  'FENCED_INSTANCE_ID',
  'FENCED_MEMBER_EPOCH',
])
