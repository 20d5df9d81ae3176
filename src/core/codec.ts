import type { Delivery } from './delivery.ts'
import { isHoldfastError, judge, PermanentError, RetryLater } from './errors.ts'
import { bytesFrom, type Bytes, type Headers } from './message.ts'
import { checkArgument, having } from './options.ts'
import { saysOutage } from './outage.ts'
import type { PublishMiddleware } from './publisher.ts'
import { whenAborted } from './signals.ts'

/** Bytes to a body and back. */
export interface Codec<Body> extends Decoder<Body> {
  encode(body: Body): Bytes
}

export interface Decoder<Body> {
  readonly name: string
  /**
   * The signal aborts when the delivery is over; a decoder that asks a server passes it on.
   * @throws PermanentError when these bytes can never be decoded: the message is dead-lettered at once.
   * @throws RetryLater to wait; `holds: 'pipeline'` where no other message can be decoded either.
   * An error that tells of an outage (a refused or lost connection, a time-out, HTTP 401, 403, 408, 429 or 5xx) holds the
   * pipeline. Any other error is about this message alone: it is decoded again after a while, and is undecodable after
   * `maxAttempts` of `retry()`, or 5.
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

const firstWaitMs = 1000
const longestWaitMs = 30_000
// How many messages may be known to have failed. What is forgotten is counted from the start again.
const mostFailing = 1000

/** Decodes the bodies of a pipeline, and says of each error whose fault it is. */
export function bodyDecoder<Body>(
  decoder: Pick<Decoder<Body>, 'decode'>,
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
      return new RetryLater(firstWaitMs, { holds: 'pipeline', because: 'the codec reached no server', cause })
    const count = (failures.get(id) ?? 0) + 1
    failures.delete(id)
    if (count >= maxAttempts) return undecodable(id, cause)
    failures.set(id, count)
    const [oldest] = failures.keys()
    if (failures.size > mostFailing && oldest !== undefined) failures.delete(oldest)
    const waitMs = Math.min(firstWaitMs * 2 ** (count - 1), longestWaitMs)
    return new RetryLater(waitMs, { because: `decoding failed (${count} of ${maxAttempts})`, cause })
  }

  return async function decodeBody(delivery) {
    const { message, signal } = delivery
    try {
      const bytes = bytesFrom(message.body)
      if (bytes === undefined) throw new PermanentError('the body to decode is an object and no bytes')
      const decoding = decoder.decode(bytes, message.headers, signal)
      const body = decoding instanceof Promise ? await unlessAborted(decoding, signal) : await decoding
      if (failures.size > 0) failures.delete(message.id)
      return body
    } catch (cause) {
      throw failed(delivery, cause)
    }
  }
}

/** Nothing waits longer than its signal: a decoder that is deaf to it is left behind. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(stopped(signal))
    const end = whenAborted(signal, () => reject(stopped(signal)))
    work.then(resolve, reject).finally(end)
  })
}

function stopped(signal: AbortSignal): RetryLater {
  return new RetryLater(0, { because: 'stopped while it was decoded', cause: signal.reason })
}

function undecodable(messageId: string, error: unknown): unknown {
  judge(error, { messageId, attempts: 0, reason: 'undecodable' })
  return error
}
