import { keepAtMost } from './bounded.ts'
import type { Delivery } from './delivery.ts'
import { isHoldfastError, judge, PermanentError, RetryLater } from './errors.ts'
import { saysOutage } from './fault.ts'
import { bytesFrom, type Bytes, type Headers } from './message.ts'
import { checkArgument, having } from './options.ts'
import type { PublishMiddleware } from './publisher.ts'
import { whenAborted } from './signals.ts'

/** Decodes bytes to a body, and encodes a body to bytes. */
export interface Codec<Body> extends Decoder<Body> {
  encode(body: Body): Bytes
}

export interface Decoder<Body> {
  readonly name: string
  /**
   * Decodes one body. The signal aborts when the delivery is over. A decoder that calls a server passes the signal on.
   * @throws PermanentError when these bytes can never be decoded: the message is dead-lettered at once.
   * @throws RetryLater to be called again later. With `holds: 'pipeline'` when no other message can be decoded either.
   * An outage error (connection refused or lost, time-out, HTTP 401, 403, 408, 429 or 5xx) holds the
   * pipeline. Any other error concerns this message alone: it is decoded again after a wait. It is undecodable after
   * as many failures as `maxAttempts` of `retry()`, or 5 without `retry()`.
   */
  decode(bytes: Bytes, headers: Headers, signal?: AbortSignal): Promise<Body> | Body
}

/** Encodes on the publish side: `publisher(wire).use(encode(json(Order)))`. */
export function encode<Body>(codec: Pick<Codec<Body>, 'encode'>): PublishMiddleware<Body, Bytes> {
  checkArgument('encode', 'codec', codec, having('encode'))
  return (next) => (messages, options) =>
    next(
      messages.map((message) => ({ ...message, body: codec.encode(message.body) })),
      options,
    )
}

/** How often a body is tried to be read: that of `retry()`, for a pipeline without one. */
export const defaultAttempts = 5

const firstWaitMs = 1000
const longestWaitMs = 30_000
// How many messages may be known to have failed. What is forgotten is counted from the start again.
const mostFailing = 1000

/** Decodes the bodies of a pipeline, and says of each error whose fault it is. */
export function bodyDecoder<Body>(
  decoder: Pick<Decoder<Body>, 'decode'>,
  maxAttempts: number,
): (delivery: Delivery<Bytes>) => Promise<Body> {
  return bodyReader((bytes, { message, signal }) => decoder.decode(bytes, message.headers, signal), maxAttempts)
}

/** Turns the bytes of a delivery into what stands for them. Its errors mean what those of {@link Decoder} mean. */
export function bodyReader<Body>(
  read: (bytes: Bytes, delivery: Delivery<Bytes>) => Promise<Body> | Body,
  maxAttempts: number,
): (delivery: Delivery<Bytes>) => Promise<Body> {
  const failures = new Map<string, number>()

  function failed({ message, signal }: Delivery, cause: unknown): unknown {
    const { id } = message
    if (isHoldfastError(cause)) {
      if (cause.code === 'permanent') return undecodable(id, cause)
      if (!saysOutage(cause)) return cause
    }
    if (signal.aborted) return stopped(signal)
    if (saysOutage(cause))
      return new RetryLater(firstWaitMs, {
        holds: 'pipeline',
        because: 'no server was reached to read the body',
        cause,
      })
    const count = (failures.get(id) ?? 0) + 1
    failures.delete(id)
    if (count >= maxAttempts) return undecodable(id, cause)
    failures.set(id, count)
    keepAtMost(mostFailing, failures)
    const waitMs = Math.min(firstWaitMs * 2 ** (count - 1), longestWaitMs)
    return new RetryLater(waitMs, { because: `the body could not be read (${count} of ${maxAttempts})`, cause })
  }

  return async function readBody(delivery) {
    const { message, signal } = delivery
    try {
      const bytes = bytesFrom(message.body)
      if (bytes === undefined) throw new PermanentError('the body to decode is an object, not bytes')
      const reading = read(bytes, delivery)
      const body = reading instanceof Promise ? await unlessAborted(reading, signal) : await reading
      if (failures.size > 0) failures.delete(message.id)
      return body
    } catch (cause) {
      throw failed(delivery, cause)
    }
  }
}

/** Stops waiting when the signal aborts, even if the decoder ignores it. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(stopped(signal))
    const end = whenAborted(signal, () => reject(stopped(signal)))
    work.then(resolve, reject).finally(end)
  })
}

function stopped(signal: AbortSignal): RetryLater {
  return new RetryLater(0, { because: 'stopped while its body was read', cause: signal.reason })
}

function undecodable(messageId: string, error: unknown): unknown {
  judge(error, { messageId, attempts: 0, reason: 'undecodable' })
  return error
}
