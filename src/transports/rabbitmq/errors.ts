import { HoldfastError, textOf } from '../../core/errors.ts'

/** AMQP's code of an error, such as 404 for an exchange or a queue that is not there. */
export function replyCodeOf(error: unknown): number | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'number' ? error.code : undefined
}

/** amqplib throws this when it is called on what was closed. */
export function isClosed(error: unknown): boolean {
  return error instanceof Error && error.name === 'IllegalOperationError'
}

/** The broker's own words, without amqplib's around them. */
export function reasonOf(error: unknown): string {
  const { errorMessage } = textOf(error)
  return /with message "([^]*)"$/.exec(errorMessage)?.[1] ?? errorMessage
}

export function unavailable(message: string, cause?: unknown): HoldfastError {
  return new HoldfastError('unavailable', message, cause === undefined ? {} : { cause })
}
