import { textOf } from '../../core/errors.ts'

/** The server's number for an error of JetStream's API, such as 10054. */
export function apiCodeOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  return typeof error.code === 'number' && error.code >= 10_000 ? error.code : undefined
}

/** Somebody else wrote first. */
export function isWrongRevision(error: unknown): boolean {
  return apiCodeOf(error) === 10_071 || /wrong last sequence/i.test(reasonOf(error))
}

export function isConsumerMissing(error: unknown): boolean {
  return apiCodeOf(error) === 10_014 || /consumer not found/i.test(reasonOf(error))
}

export function isStreamMissing(error: unknown): boolean {
  return apiCodeOf(error) === 10_059 || /stream not found|no stream matches/i.test(reasonOf(error))
}

/** Nobody answers on the subject: no stream has it, or JetStream is away. */
export function isNobodyThere(error: unknown): boolean {
  return /no responders|jetstream is not enabled/i.test(reasonOf(error))
}

/** The server is away, or its answer was lost. */
export function isUnanswered(error: unknown): boolean {
  return (
    error instanceof Error &&
    (error.name === 'TimeoutError' || /^(timeout|connection disconnected)$/i.test(error.message))
  )
}

export function reasonOf(error: unknown): string {
  return textOf(error).errorMessage
}
