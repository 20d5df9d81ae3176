import type { JsMsg } from '@nats-io/jetstream'
import { HoldfastError } from '../../core/errors.ts'
import type { Bytes, Message } from '../../core/message.ts'
import { messageFrom, type ReadMessage } from './codec.ts'

/** Returns the id of a message. */
export type NatsMessageId = (message: JsMsg) => string | undefined

/** One delivery of a message. Read once, so that its id stays what it was. */
export class NatsRecord {
  readonly raw: JsMsg
  /** Its place in the stream. */
  readonly seq: number
  readonly message: Message<Bytes>
  /** What the id function threw. A message under a wrong id would pass for another one, so it is a nack. */
  readonly idError: Error | undefined
  readonly #reader: RecordReader

  constructor(raw: JsMsg, seq: number, message: Message<Bytes>, reader: RecordReader, idError?: Error) {
    this.raw = raw
    this.seq = seq
    this.message = message
    this.idError = idError
    this.#reader = reader
  }

  /** Reads it again: what the id function needs may be there by now. */
  again(): NatsRecord {
    return this.#reader.read(this.raw, this.seq)
  }
}

export interface ReadOptions {
  readonly id: NatsMessageId | undefined
  /** Stands for the id where the producer gave none. */
  readonly place: (raw: JsMsg) => string
  /** Told of such a message. */
  readonly onAnonymous?: () => void
}

/** Reads the messages of one source. */
export class RecordReader {
  readonly #options: ReadOptions

  constructor(options: ReadOptions) {
    this.#options = options
  }

  /** Never throws. */
  read(raw: JsMsg, seq: number = raw.seq): NatsRecord {
    const { id, place, onAnonymous } = this.#options
    const message: ReadMessage = messageFrom(raw)
    try {
      if (id !== undefined) message.id = textOr(id(raw), '')
    } catch (cause) {
      message.id = place(raw)
      const idError = new HoldfastError('bad-option', `the id function threw for ${message.id}`, { cause })
      return new NatsRecord(raw, seq, message, this, idError)
    }
    if (message.id === '') {
      message.id = place(raw)
      onAnonymous?.()
    }
    return new NatsRecord(raw, seq, message, this)
  }
}

/** Callers without types return anything. */
function textOr(value: unknown, otherwise: string): string {
  return typeof value === 'string' ? value : otherwise
}
