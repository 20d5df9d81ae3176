import type { JsMsg } from '@nats-io/jetstream'

/** Where a message stands: in its stream, and among the deliveries of its consumer. */
export interface Sequences {
  readonly seq: number
  readonly delivery: number
}

const dot = 46
const zero = 48

/**
 * Read out of the subject that acks go to: `$JS.ACK.<stream>.<consumer>.<count>.<seq>.<delivery>.<time>.<pending>`, with
 * domain and account before the stream since 2.10. The client makes a dozen texts of it, a tenth of what a message costs.
 */
export function sequencesOf(raw: JsMsg): Sequences {
  const reply = replyOf(raw)
  if (reply === undefined) return { seq: raw.seq, delivery: raw.info.deliverySequence }
  let dots = 0
  for (let at = 0; at < reply.length; at++) if (reply.charCodeAt(at) === dot) dots++
  let at = 0
  // The stream sequence is behind the fifth dot, or the seventh.
  for (let left = dots === 8 ? 5 : 7; left > 0; at++) if (reply.charCodeAt(at) === dot) left--
  const end = reply.indexOf('.', at)
  return { seq: numberIn(reply, at, end), delivery: numberIn(reply, end + 1, reply.indexOf('.', end + 1)) }
}

/** Where acks of a message go. The client's type does not name it. */
export function replyOf(message: JsMsg | undefined): string | undefined {
  return message !== undefined && 'reply' in message && typeof message.reply === 'string' ? message.reply : undefined
}

function numberIn(text: string, from: number, end: number): number {
  let value = 0
  for (let at = from; at < end; at++) value = value * 10 + text.charCodeAt(at) - zero
  return value
}
