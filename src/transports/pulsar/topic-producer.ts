import type { Clock } from '../../core/clock.ts'
import { fullName, type PulsarClient } from './client.ts'
import type { Command, Metadata } from './protocol/commands.ts'
import type { Connection } from './protocol/connection.ts'
import { PulsarError, serverError } from './protocol/errors.ts'
import { sendFrame } from './protocol/frames.ts'

/** One message on its way. */
export interface Sending {
  readonly metadata: Metadata
  readonly body: Uint8Array
  /** Told once: nothing, or why the broker did not take it. */
  readonly settle: (error?: PulsarError) => void
  /** Nobody waits for it any more. */
  isDropped: boolean
  /** The place that it was given when it was sent first; it keeps it. */
  sequenceId?: number
}

const forGood: ReadonlySet<string> = new Set([
  ...['TopicTerminatedError', 'InvalidTopicName', 'IncompatibleSchema', 'TopicNotFound', 'NotAllowedError', 'TooLarge'],
])

export function isRefusal(error: PulsarError): boolean {
  return forGood.has(error.code)
}

const firstWaitMs = 50
const longestWaitMs = 2_000
let lastProducer = 0

/**
 * Sends to one topic, all at once and in order. What has no receipt when the producer ends goes again, in order, under its
 * old name and numbers: a broker that deduplicates drops what it has.
 */
export class TopicProducer {
  readonly #client: PulsarClient
  readonly #topic: string
  readonly #clock: Clock
  #name = newName()
  #waiting: Sending[] = []
  readonly #underWay = new Map<number, Sending>()
  #sequence = -1
  #open: { readonly connection: Connection; readonly producerId: number } | undefined
  #isAttaching = false
  #isClosed = false

  constructor(client: PulsarClient, topic: string, clock: Clock) {
    this.#client = client
    this.#topic = topic
    this.#clock = clock
  }

  add(sending: Sending): void {
    this.#waiting.push(sending)
  }

  /** Sends what waits; makes the producer where there is none. */
  flush(): void {
    if (this.#open === undefined) return void this.#attach()
    const sendings = this.#waiting
    this.#waiting = []
    for (const sending of sendings) if (!sending.isDropped) this.#send(sending)
  }

  purge(): void {
    this.#waiting = this.#waiting.filter(({ isDropped }) => !isDropped)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#fail(new PulsarError('Disconnected', 'the publisher was closed'))
    const open = this.#open
    this.#open = undefined
    if (open === undefined) return
    open.connection.producers.delete(open.producerId)
    await open.connection.request('closeProducer', { producerId: open.producerId }).catch(() => {})
  }

  #send(sending: Sending): void {
    const { connection, producerId } = this.#open ?? {}
    if (connection === undefined || producerId === undefined) return
    const { body, metadata } = sending
    // A larger one would cost the whole connection, with everything on it.
    if (body.length > connection.maxMessageSize)
      return sending.settle(new PulsarError('TooLarge', `${body.length} bytes; it takes ${connection.maxMessageSize}`))
    const sequenceId = (sending.sequenceId ??= ++this.#sequence)
    this.#underWay.set(sequenceId, sending)
    const own = { producerName: this.#name, sequenceId, publishTime: this.#clock.wall() }
    connection.write(sendFrame({ producerId, sequenceId, messages: 1 }, { ...metadata, ...own }, body))
  }

  /** The one owner of the attempts. */
  async #attach(): Promise<void> {
    if (this.#isAttaching || this.#isClosed) return
    this.#isAttaching = true
    let waitMs = firstWaitMs
    // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may be closed while we wait
    while (!this.#isClosed && this.#waiting.some(({ isDropped }) => !isDropped)) {
      try {
        await this.#produce()
        break
      } catch (error) {
        const why = error instanceof PulsarError ? error : new PulsarError('Disconnected', String(error))
        // Somebody has the name, ourselves on a connection that the broker still takes for alive.
        if (why.code === 'ProducerBusy') this.#rename()
        if (isRefusal(why) || why.code.startsWith('Auth')) this.#fail(why)
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
      await connection.request('producer', { ...named, producerId })
    } catch (error) {
      connection.producers.delete(producerId)
      throw error
    }
    if (attached.isOver) throw new PulsarError('Disconnected', 'it was closed at once')
    this.#open = open
  }

  /** What has no receipt goes before what waits. */
  #lost(): void {
    this.#open = undefined
    this.#waiting = [...this.#underWay.values(), ...this.#waiting].filter(({ isDropped }) => !isDropped)
    this.#underWay.clear()
    if (this.#waiting.length > 0) void this.#attach()
  }

  #rename(): void {
    this.#name = newName()
    this.#sequence = -1
    for (const sending of this.#waiting) delete sending.sequenceId
  }

  #fail(error: PulsarError): void {
    const all = [...this.#underWay.values(), ...this.#waiting]
    this.#underWay.clear()
    this.#waiting = []
    for (const { settle, isDropped } of all) if (!isDropped) settle(error)
  }

  #confirmed({ sequenceId = 0 }: Command<'sendReceipt'>): void {
    const sending = this.#underWay.get(sequenceId)
    this.#underWay.delete(sequenceId)
    if (sending?.isDropped === false) sending.settle()
  }

  #refused({ sequenceId = 0, error, message }: Command<'sendError'>): void {
    const sending = this.#underWay.get(sequenceId)
    this.#underWay.delete(sequenceId)
    if (sending?.isDropped === false) sending.settle(serverError(error, message))
  }
}

function newName(): string {
  return `holdfast-${crypto.randomUUID()}`
}
