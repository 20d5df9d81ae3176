import type { Clock } from '../../core/clock.ts'
import { fullName, type PulsarClient } from './client.ts'
import { Numbers } from './numbers.ts'
import type { Command, Metadata } from './protocol/commands.ts'
import type { Connection } from './protocol/connection.ts'
import { isDenied, PulsarError, serverError } from './protocol/errors.ts'
import { sendFrame } from './protocol/frames.ts'

/** One message on its way. */
export interface Sending {
  readonly metadata: Metadata
  readonly body: Uint8Array
  /** Told once: nothing, or why the broker did not take it. */
  readonly settle: (error?: PulsarError) => void
  /** Nobody waits for it any more. */
  isDropped: boolean
  /** Its number: given, or that of its first sending. It keeps it. */
  sequenceId?: number
  /** Nobody has sent its number before. */
  isFirst?: boolean
}

export interface TopicProducerOptions {
  readonly client: PulsarClient
  readonly topic: string
  readonly clock: Clock
  /** For messages that have numbers of their own: the name whose numbers they are. */
  readonly name?: string | undefined
}

interface Open {
  readonly connection: Connection
  readonly producerId: number
}

const forGood: ReadonlySet<string> = new Set([
  ...['TopicTerminatedError', 'InvalidTopicName', 'IncompatibleSchema', 'TopicNotFound', 'NotAllowedError', 'TooLarge'],
])

export function isRefusal(error: PulsarError): boolean {
  return forGood.has(error.code)
}

const firstWaitMs = 50
const longestWaitMs = 2_000
// A name is free as soon as its owner has nothing to send, or the broker has noticed that it is gone.
const busyWaitMs = 200
const restMs = 1_000
const undecidedMs = 50
/** What the broker's storage adds. Where its own limit is the same, it tries a message at the limit for ever, on ledger after ledger. */
const storageBytes = 256
let lastProducer = 0

/**
 * Sends to one topic, all at once and in order. What has no receipt when the producer ends goes again, in order, under its
 * old name and numbers: a broker that deduplicates drops what it has.
 */
export class TopicProducer {
  readonly #client: PulsarClient
  readonly #topic: string
  readonly #clock: Clock
  readonly #givenName: string | undefined
  #name: string
  #waiting: Sending[] = []
  readonly #underWay = new Map<number, Sending>()
  #sequence = -1
  /** Those of a given name. Our own never go back. */
  #numbers: Numbers | undefined
  #open: Open | undefined
  #closing: Promise<unknown> = Promise.resolve()
  #cancelRest = (): void => {}
  #isAttaching = false
  #isClosed = false

  constructor({ client, topic, clock, name }: TopicProducerOptions) {
    this.#client = client
    this.#topic = topic
    this.#clock = clock
    this.#givenName = name
    this.#name = name ?? newName()
    this.#numbers = name === undefined ? undefined : new Numbers()
  }

  add(sending: Sending): void {
    this.#cancelRest()
    this.#waiting.push(sending)
  }

  /** Sends what waits; makes the producer where there is none. */
  flush(): void {
    if (this.#open === undefined) return void this.#attach()
    const sendings = this.#waiting
    this.#waiting = []
    for (const sending of sendings) if (!sending.isDropped) this.#send(sending)
    this.#rest()
  }

  purge(): void {
    this.#waiting = this.#waiting.filter(({ isDropped }) => !isDropped)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#cancelRest()
    this.#fail(new PulsarError('Disconnected', 'the publisher was closed'))
    this.#letGo()
    await this.#closing
  }

  #send(sending: Sending): void {
    const open = this.#open
    if (open === undefined) return
    const sequenceId = (sending.sequenceId ??= ++this.#sequence)
    const { maxMessageSize } = open.connection
    const frame = this.#frameOf(sending, sequenceId, open)
    // A larger one costs the whole connection, with everything on it.
    if (frame.length + storageBytes > maxMessageSize)
      return sending.settle(
        new PulsarError('TooLarge', `${frame.length} bytes with its headers; the broker takes ${maxMessageSize}`),
      )
    if (this.#numbers?.goesBack(sequenceId) === true) return sending.settle(this.#wentBack(sequenceId))
    sending.isFirst = this.#numbers?.mayBeThere(sequenceId) === false
    this.#numbers?.sent(sequenceId)
    this.#underWay.set(sequenceId, sending)
    open.connection.write(frame)
  }

  #frameOf({ body, metadata }: Sending, sequenceId: number, { producerId }: Open): Buffer {
    const own = { producerName: this.#name, sequenceId, publishTime: this.#clock.wall() }
    return sendFrame({ producerId, sequenceId, messages: 1 }, { ...metadata, ...own }, body)
  }

  /** The one owner of the attempts. */
  async #attach(): Promise<void> {
    if (this.#isAttaching || this.#isClosed) return
    this.#isAttaching = true
    let waitMs = firstWaitMs
    // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may be closed while we wait
    while (!this.#isClosed && this.#waiting.some(({ isDropped }) => !isDropped)) {
      try {
        await this.#closing
        await this.#produce()
        break
      } catch (error) {
        const why = error instanceof PulsarError ? error : new PulsarError('Disconnected', String(error))
        if (why.code === 'ProducerBusy') waitMs = this.#busy()
        if (isRefusal(why) || isDenied(why)) this.#fail(why)
      }
      await new Promise<void>((resolve) => void this.#clock.after(waitMs, resolve))
      waitMs = Math.min(2 * waitMs, longestWaitMs)
    }
    this.#isAttaching = false
    if (this.#open !== undefined) this.flush()
  }

  async #produce(): Promise<void> {
    const connection = await this.#client.connectionFor(this.#topic)
    const producerId = ++lastProducer
    const open = { connection, producerId }
    const attached = { isOver: false }
    connection.producers.set(producerId, {
      receipt: (receipt) => this.#confirmed(receipt),
      refused: (refusal) => this.#refused(refusal),
      closed: () => {
        attached.isOver = true
        if (this.#open === open) this.#lost()
      },
    })
    try {
      const named = { topic: fullName(this.#topic), producerName: this.#name, isNameGiven: true }
      const answer = await connection.request('producer', { ...named, producerId })
      this.#numbers?.attached(answer.lastSequenceId ?? -1)
    } catch (error) {
      connection.producers.delete(producerId)
      // The broker may have it all the same, and would keep the name for it.
      if (error instanceof PulsarError && error.code === 'TimedOut') void closeProducer(open)
      throw error
    }
    if (attached.isOver) throw new PulsarError('Disconnected', 'it was closed at once')
    if (this.#isClosed) return void closeProducer(open)
    this.#open = open
  }

  /** What has no receipt goes before what waits. */
  #lost(): void {
    this.#open = undefined
    this.#waiting = [...this.#underWay.values(), ...this.#waiting].filter(({ isDropped }) => !isDropped)
    this.#underWay.clear()
    if (this.#waiting.length > 0) void this.#attach()
  }

  /** Somebody has the name, ourselves on a connection that the broker still takes for alive. @returns how long to wait. */
  #busy(): number {
    // Under another name, the broker would not know the numbers of its messages again.
    if (this.#givenName !== undefined) return busyWaitMs
    this.#rename()
    return firstWaitMs
  }

  #rename(): void {
    this.#name = newName()
    this.#sequence = -1
    for (const sending of this.#waiting) delete sending.sequenceId
  }

  /** A name that another process may want is not kept for nothing. */
  #rest(): void {
    this.#cancelRest()
    if (this.#givenName === undefined || this.#underWay.size > 0 || this.#waiting.length > 0) return
    this.#cancelRest = this.#clock.after(restMs, () => this.#letGo(), true)
  }

  #letGo(): void {
    const open = this.#open
    if (open === undefined) return
    this.#open = undefined
    this.#closing = closeProducer(open)
  }

  #fail(error: PulsarError): void {
    const all = [...this.#underWay.values(), ...this.#waiting]
    this.#underWay.clear()
    this.#waiting = []
    for (const { settle, isDropped } of all) if (!isDropped) settle(error)
  }

  #confirmed({ sequenceId = 0, messageId }: Command<'sendReceipt'>): void {
    const sending = this.#underWay.get(sequenceId)
    this.#underWay.delete(sequenceId)
    this.#rest()
    if (sending?.isDropped !== false) return
    // Of a message that the broker took for a duplicate, it names no place.
    const isDuplicate = messageId?.entryId === -1
    sending.settle(isDuplicate && sending.isFirst === true ? this.#wentBack(sequenceId) : undefined)
  }

  #wentBack(sequenceId: number): PulsarError {
    return new PulsarError(
      'SequenceWentBack',
      `message ${sequenceId} of ${this.#name} comes after later ones to ${this.#topic}: the broker would take it for a duplicate and drop it. Publish it in its order, without oneInFlightPerKey`,
    )
  }

  #refused({ sequenceId = 0, error, message }: Command<'sendError'>): void {
    const sending = this.#underWay.get(sequenceId)
    const why = serverError(error, message)
    if (sending !== undefined && isUndecided(why)) return this.#askAgain(sending, sequenceId)
    this.#underWay.delete(sequenceId)
    if (sending?.isDropped === false) sending.settle(why)
    if (why.code === 'ChecksumError' && this.#givenName !== undefined) this.#beginAgain(this.#givenName, why)
    this.#rest()
  }

  /** Its first sending is still being stored: asked again, the broker knows what became of it. */
  #askAgain(sending: Sending, sequenceId: number): void {
    sending.isFirst = false
    this.#clock.after(undecidedMs, () => {
      const open = this.#open
      if (open === undefined || this.#underWay.get(sequenceId) !== sending) return
      open.connection.write(this.#frameOf(sending, sequenceId, open))
    })
  }

  /** Later numbers were stored: under this name, the broker would take the repeat of the refused one for a duplicate. */
  #beginAgain(name: string, why: PulsarError): void {
    this.#letGo()
    this.#fail(why)
    this.#name = `${name}/${crypto.randomUUID()}`
    this.#numbers = new Numbers()
  }
}

function isUndecided({ message }: PulsarError): boolean {
  return message.includes('Cannot determine whether the message is a duplicate')
}

function closeProducer({ connection, producerId }: Open): Promise<unknown> {
  connection.producers.delete(producerId)
  return connection.request('closeProducer', { producerId }).catch(() => {})
}

function newName(): string {
  return `holdfast-${crypto.randomUUID()}`
}
