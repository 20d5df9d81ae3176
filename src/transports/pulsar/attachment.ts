import type { Ownership, QueueHost, QueueSession } from '../../consumer/queue/queue-client.ts'
import { asError } from '../../core/as-error.ts'
import { HoldfastError } from '../../core/errors.ts'
import type { Bytes, Message } from '../../core/message.ts'
import { Chunks, isChunk, type Whole } from './chunks.ts'
import { readMessage, type PulsarMessageId } from './codec.ts'
import { messagesIn, type Entry, type EntryMessage } from './entry.ts'
import type { Command, MessageId } from './protocol/commands.ts'
import type { Connection } from './protocol/connection.ts'
import type { Payload } from './protocol/frames.ts'

/** One delivery of a message. */
export interface PulsarRecord {
  readonly entry: Entry
  readonly message: Message<Bytes>
  /** Why it cannot be read. It holds its place until that ends. */
  readonly error?: Error
  /** As a handler finds it: nacks only, never deaths. */
  readonly raw: { readonly messageId: MessageId; readonly batchIndex: number; readonly redeliveryCount: number }
}

export interface AttachmentOptions {
  readonly topic: string
  readonly id: PulsarMessageId | undefined
  /** Something for the operator, said once. */
  readonly note: (said: string) => void
}

const individual = 0

/** One subscribe: what belongs to it ends with it. */
export class Attachment {
  readonly gone: Promise<void>
  isGone = false
  #isLeaving = false
  readonly #options: AttachmentOptions
  readonly #connection: Connection
  readonly #consumerId: number
  readonly #lost: (why: string) => void
  readonly #ended = Promise.withResolvers<void>()
  #owned: Ownership<PulsarRecord> | undefined
  readonly #chunks = new Chunks()
  #done: MessageId[] = []
  #acking: Promise<void> = Promise.resolve()

  constructor(options: AttachmentOptions, connection: Connection, consumerId: number, lost: (why: string) => void) {
    this.#options = options
    this.#connection = connection
    this.#consumerId = consumerId
    this.#lost = lost
    this.gone = this.#ended.promise
  }

  begin(host: QueueHost<PulsarRecord>): void {
    this.#owned = host.own(this.#options.topic, this.#session())
  }

  closed(why: string): void {
    if (this.isGone) return
    this.isGone = true
    const problem = `${this.#options.topic} was lost: ${why}`
    this.#lost(problem)
    this.#owned?.lost(new HoldfastError('stopped', problem))
    this.#ended.resolve()
  }

  /** Tells the broker, and waits for nothing. */
  abandon(why = 'it was given up'): void {
    const consumerId = this.#consumerId
    this.#connection.consumers.delete(consumerId)
    this.#connection.request('closeConsumer', { consumerId }).catch(() => {})
    this.closed(why)
  }

  arrived({ messageId = {}, redeliveryCount = 0 }: Command<'message'>, payload: Payload): void {
    const owned = this.#owned
    if (owned === undefined) return
    // A mark of the broker's own, of a transaction or of a replica.
    if (payload.metadata.markerType !== undefined) return void this.#ack({ ids: [messageId], left: 1 })
    const whole = isChunk(payload) ? this.#together(messageId, payload) : { payload, ids: [messageId] }
    if (whole === undefined) return
    for (const record of this.#recordsOf(messageId, redeliveryCount, whole))
      // Nobody would ever ack it, and the broker holds its key back for it.
      if (!owned.deliver(record) && !this.#isLeaving)
        return this.abandon('a message came for an ownership that is over')
  }

  /** The whole message with its last chunk; a chunk as it is where it does not fit to those before it. */
  #together(messageId: MessageId, payload: Payload): (Whole & { readonly error?: Error }) | undefined {
    try {
      const whole = this.#chunks.take(messageId, payload)
      if (typeof whole === 'object') return whole
      if (whole === 'again') void this.#ack({ ids: [messageId], left: 1 })
      // It is none of the window's messages.
      this.#connection.send('flow', { consumerId: this.#consumerId, permits: 1 })
      return undefined
    } catch (error) {
      return { payload, ids: [messageId], error: error as Error }
    }
  }

  #recordsOf(
    messageId: MessageId,
    redeliveryCount: number,
    { payload, ids, error: misfit }: Whole & { readonly error?: Error },
  ): readonly PulsarRecord[] {
    const all = misfit ?? readable(payload)
    const messages = all instanceof Error ? [{ meta: payload.metadata, body: payload.body }] : all
    const { ledgerId, entryId } = messageId
    const { topic, id, note } = this.#options
    const brokerMs = payload.metadata.publishTime ?? Date.now()
    const entry: Entry = { ids, left: messages.length }
    return messages.map((each, batchIndex) => {
      const raw = { messageId, batchIndex, redeliveryCount }
      const isBatch = payload.metadata.messages !== undefined
      const place = `${topic}/${ledgerId}/${entryId}${isBatch ? `/${batchIndex}` : ''}`
      const { message, error } = readMessage(each, { topic, place, brokerMs, id, note })
      const failed = all instanceof Error ? all : error
      return failed === undefined ? { entry, message, raw } : { entry, message, raw, error: failed }
    })
  }

  #session(): QueueSession<PulsarRecord> {
    const [connection, consumerId] = [this.#connection, this.#consumerId]
    return {
      credit: (permits) => connection.send('flow', { consumerId, permits }),
      ack: ({ entry }) => this.#ack(entry),
      leave: async () => {
        this.#isLeaving = true
        await this.#acking.catch(() => {})
        if (this.isGone) return
        this.isGone = true
        // Its answer says that the rest is back in its order.
        await connection.request('closeConsumer', { consumerId }).catch(() => {})
        connection.consumers.delete(consumerId)
        this.#ended.resolve()
      },
    }
  }

  /** An entry is acked when all of its messages are, and those of one turn in one command. */
  #ack(entry: Entry): Promise<void> | void {
    if (--entry.left > 0) return
    if (this.#done.push(...entry.ids) === entry.ids.length) this.#acking = nextTurn().then(() => this.#sendAcks())
    return this.#acking
  }

  async #sendAcks(): Promise<void> {
    const messageIds = this.#done
    this.#done = []
    const consumerId = this.#consumerId
    try {
      await this.#connection.request('ack', { consumerId, type: individual, messageIds })
    } catch (error) {
      // Without an ack they would come again only with the next connection.
      if (!this.isGone) this.abandon()
      throw error
    }
  }
}

function readable(payload: Payload): readonly EntryMessage[] | Error {
  try {
    return messagesIn(payload)
  } catch (error) {
    return asError(error)
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve))
}
