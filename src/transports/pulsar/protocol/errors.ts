/** What a frame must not hold. The connection ends with it. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'
}

/** An error as the broker names it, or one of our own: `Disconnected`, `TimedOut`, `TooLarge`. */
export class PulsarError extends Error {
  override readonly name = 'PulsarError'
  readonly code: string

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message === '' ? code : `${code}: ${message}`, options)
    this.code = code
  }
}

// `ServerError` of PulsarApi.proto, by number.
const names = [
  ...['UnknownError', 'MetadataError', 'PersistenceError', 'AuthenticationError', 'AuthorizationError', 'ConsumerBusy'],
  ...['ServiceNotReady', 'ProducerBlockedQuotaExceededError', 'ProducerBlockedQuotaExceededException'],
  ...['ChecksumError', 'UnsupportedVersionError', 'TopicNotFound', 'SubscriptionNotFound', 'ConsumerNotFound'],
  ...['TooManyRequests', 'TopicTerminatedError', 'ProducerBusy', 'InvalidTopicName', 'IncompatibleSchema'],
  ...['ConsumerAssignError', 'TransactionCoordinatorNotFound', 'InvalidTxnStatus', 'NotAllowedError'],
  ...['TransactionConflict', 'TransactionNotFound', 'ProducerFenced'],
]

export function serverError(code: number | undefined, message: string | undefined): PulsarError {
  return new PulsarError(names[code ?? 0] ?? `error ${code}`, (message ?? '').slice(0, 300))
}
