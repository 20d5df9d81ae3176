import { isHoldfastError, judge, RetryLater } from './errors.ts'
import type { Bytes, Headers, Message } from './message.ts'
import { checkArgument, having } from './options.ts'
import type { PublishMiddleware } from './publisher.ts'

/** Bytes to a body and back. */
export interface Codec<Body> extends Decoder<Body> {
  encode(body: Body): Bytes
}

export interface Decoder<Body> {
  readonly name: string
  /**
   * @throws PermanentError when these bytes can never be decoded: the message goes to the dead letter.
   * Any other error says "not now" (a schema registry that is down) and holds the pipeline.
   */
  decode(bytes: Bytes, headers: Headers): Promise<Body> | Body
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

const retryDecodingMs = 1000

/** Decodes a message's body. Only a PermanentError says that the bytes are bad; anything else holds the pipeline. */
export async function decodeBody<Body>(decoder: Pick<Decoder<Body>, 'decode'>, message: Message<Bytes>): Promise<Body> {
  try {
    return await decoder.decode(message.body, message.headers)
  } catch (cause) {
    if (!isHoldfastError(cause))
      throw new RetryLater(retryDecodingMs, { holds: 'pipeline', because: 'the codec could not decode', cause })
    if (cause.code === 'permanent') judge(cause, { messageId: message.id, attempts: 0, reason: 'undecodable' })
    throw cause
  }
}
