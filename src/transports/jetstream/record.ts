import type { JsMsg } from '@nats-io/jetstream'
import { HoldfastError } from '../../core/errors.ts'
import type { Bytes, Message } from '../../core/message.ts'
import { messageFrom } from './codec.ts'

/** Returns the id of a message. */
export type NatsMessageId = (message: JsMsg) => string | undefined

/** One delivery of a message. Read once, so that its id stays what it was. */
export interface NatsRecord {
  readonly raw: JsMsg
  readonly message: Message<Bytes>
  /** What the id function threw. A message under a wrong id would pass for another one, so it is a nack. */
  readonly idError?: Error
  /** Reads it again: what the id function needs may be there by now. */
  again(): NatsRecord
}

export interface ReadOptions {
  readonly id: NatsMessageId | undefined
  /** Stands for the id where the producer gave none. */
  readonly place: string
  /** Told of such a message. */
  readonly onAnonymous?: () => void
}

/** Never throws. */
export function readRecord(raw: JsMsg, options: ReadOptions): NatsRecord {
  const { id: given, place, onAnonymous } = options
  const read = messageFrom(raw)
  const again = (): NatsRecord => readRecord(raw, options)
  try {
    const id = given === undefined ? read.id : given(raw)
    if (typeof id === 'string' && id !== '') return { raw, message: { ...read, id }, again }
    onAnonymous?.()
    return { raw, message: { ...read, id: place }, again }
  } catch (cause) {
    const idError = new HoldfastError('bad-option', `the id function threw for ${place}`, { cause })
    return { raw, message: { ...read, id: place }, idError, again }
  }
}
