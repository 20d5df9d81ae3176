import { HoldfastError, textOf } from '../../core/errors.ts'

/** An AMQP condition, such as `amqp:not-found`. */
export function conditionOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined
  const condition: unknown = Reflect.get(error, 'condition')
  return typeof condition === 'string' && condition !== '' ? condition : undefined
}

/** The broker's own words where there are any. */
export function reasonOf(error: unknown): string {
  if (error === undefined || error === null) return 'no reason was given'
  const condition = conditionOf(error)
  if (condition === undefined) return textOf(error).errorMessage
  const description: unknown = Reflect.get(error, 'description')
  return typeof description === 'string' && description !== '' ? `${condition}: ${description}` : condition
}

/** What the broker says in a rejection of a message. */
export function outcomeError(outcome: unknown): unknown {
  const error: unknown = typeof outcome === 'object' && outcome !== null ? Reflect.get(outcome, 'error') : undefined
  return error ?? { condition: 'amqp:rejected' }
}

/** No later try would be let in. */
export function isUnauthorized(error: unknown): boolean {
  return conditionOf(error) === 'amqp:unauthorized-access'
}

export function isMissing(error: unknown): boolean {
  return conditionOf(error) === 'amqp:not-found'
}

// The same message would be refused again.
const refusals: ReadonlySet<string> = new Set([
  'amqp:not-found',
  'amqp:not-allowed',
  'amqp:not-implemented',
  'amqp:decode-error',
  'amqp:invalid-field',
  'amqp:precondition-failed',
  'amqp:link:message-size-exceeded',
])

export function isRefusal(error: unknown): boolean {
  return refusals.has(conditionOf(error) ?? '')
}

export function unavailable(message: string, cause?: unknown): HoldfastError {
  return new HoldfastError('unavailable', message, cause === undefined ? {} : { cause })
}
