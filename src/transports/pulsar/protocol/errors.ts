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

/** We are not let in, or do not trust the broker: no later try would end otherwise before somebody acts. */
export function isDenied({ code }: PulsarError): boolean {
  return code.startsWith('Auth') || code === 'CertificateError'
}

/** Who issues the tokens may be away for a while: that is no refusal. */
export function withoutCredentials(cause: unknown): PulsarError {
  const why = cause instanceof Error ? cause.message : String(cause)
  return new PulsarError('NoCredentials', `the token function failed: ${why}`, { cause })
}

// Codes of OpenSSL and Node for a certificate that is not to be trusted.
const certificate = /^(ERR_TLS_CERT|CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|INVALID_CA|HOSTNAME_MISMATCH)/
const noTls = /wrong version number|packet length too long|unknown protocol|disconnected before secure TLS/i

/** What the socket said, and what to look at. */
export function socketError(error: Error & { readonly code?: string }, where: string, isTls: boolean): PulsarError {
  const { code = '', message } = error
  if (isTls && certificate.test(code))
    return new PulsarError(
      'CertificateError',
      `the certificate of ${where} is refused: ${message} (${code}). See to the option tls: ca, servername`,
      { cause: error },
    )
  if (isTls && noTls.test(message))
    return new PulsarError('Disconnected', `${where} does not speak TLS: see to its port, or use pulsar://`, {
      cause: error,
    })
  return new PulsarError('Disconnected', `${where}: ${message === '' ? code : message}`, { cause: error })
}

/** What begins as no frame does, in words. */
export function strangerIn(firstBytes: number): string {
  if (firstBytes >>> 8 === 0x150301 || firstBytes >>> 8 === 0x150303) return ': it speaks TLS. Use pulsar+ssl://'
  if (firstBytes === 0x48545450) return ': it speaks HTTP. Use the port of the binary protocol, 6650 by default'
  return ''
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
