import type { Ownership, QueueHost, QueueSession } from '../../consumer/queue/queue-client.ts'
import type { Clock } from '../../core/clock.ts'
import { HoldfastError } from '../../core/errors.ts'
import { recordFrom, type AmqpMessageId, type AmqpRaw, type AmqpRecord } from './codec.ts'
import { isMissing, isUnauthorized, reasonOf, unavailable } from './errors.ts'
import type { AmqpCondition, AmqpConnection, AmqpContext, AmqpReceiver, AmqpSession } from './rhea-client.ts'
import { isSubscription, nameOf, terminusOf, type AmqpSource } from './terminus.ts'

export interface SourceLinkOptions {
  readonly connection: AmqpConnection
  readonly source: AmqpSource
  readonly host: QueueHost<AmqpRecord>
  /** Transfers of the session that may be unsettled, the settled ones behind the first unsettled one included. */
  readonly sessionSize: number
  readonly id: AmqpMessageId | undefined
  /** What the broker is to put aside, with the reason. */
  readonly refused: WeakMap<AmqpRaw, AmqpCondition>
  readonly note: (text: string) => void
  readonly clock: Clock
}

/** A link in a session of its own. rhea attaches it again when the connection is back. */
interface Link {
  readonly session: AmqpSession
  readonly receiver: AmqpReceiver
  /** The broker answered that the link is gone, or the connection is. */
  gone: PromiseWithResolvers<void>
  /** The ownership since the last attach that the broker answered. */
  owned: Ownership<AmqpRecord> | undefined
  /** How many such ownerships ended: a delivery belongs to its own. */
  ended: number
  ownedSinceMs: number
}

const firstWaitMs = 100
const longestWaitMs = 10_000

/** Keeps one source attached: one link after the other, and every answered attach is an ownership. */
export class SourceLink {
  readonly name: string
  problem: string | undefined
  readonly #options: SourceLinkOptions
  #link: Link | undefined
  #wasAttached = false
  #isOver = false
  #waitMs = firstWaitMs
  #cancelWait = (): void => {}

  constructor(options: SourceLinkOptions) {
    this.#options = options
    this.name = nameOf(options.source)
    this.problem = `${this.name} is not attached yet`
  }

  /** Attaches where no link is there. On a connection that is not open, rhea would lose what is begun. */
  attach(): void {
    const { connection } = this.#options
    if (this.#isOver || this.#link !== undefined || !connection.is_open()) return
    this.#cancelWait()
    this.#link = this.#open(connection)
  }

  /** The connection is gone: what is unsettled comes again, on this link or another member's. */
  lost(reason: string): void {
    const link = this.#link
    if (link === undefined) return
    this.#end(link, reason)
    link.gone.resolve()
  }

  /** No ownership begins any more. */
  quiet(): void {
    this.#isOver = true
    this.#cancelWait()
  }

  /** Ends a link that was never owned. */
  discard(): void {
    if (this.#link === undefined) return
    this.#close(this.#link)
    this.#link.session.close()
    this.#link = undefined
  }

  #open(connection: AmqpConnection): Link {
    const { source, sessionSize } = this.#options
    const session = connection.create_session(sessionSize)
    session.open()
    const receiver = session.open_receiver({
      // The credit is ours: rhea's window refills as messages arrive, whether or not anybody is done with them.
      ...{ credit_window: 0, autoaccept: false, autosettle: true, rcv_settle_mode: 0 },
      // What follows the bar tells the members of a subscription apart.
      ...(isSubscription(source) ? { name: `${source.link ?? source.name}|${crypto.randomUUID()}` } : {}),
      source: { ...terminusOf(source) },
    })
    const link: Link = { session, receiver, gone: Promise.withResolvers(), owned: undefined, ended: 0, ownedSinceMs: 0 }
    receiver.on('receiver_open', () => this.#attached(link))
    receiver.on('message', (context) => this.#arrived(link, context))
    receiver.on('receiver_close', () => this.#closed(link, receiver.error))
    session.on('session_close', () => this.#closed(link, session.error))
    for (const event of ['receiver_error', 'settled', 'receiver_flow']) receiver.on(event, ignore)
    session.on('session_error', ignore)
    return link
  }

  #attached(link: Link): void {
    const { host, clock } = this.#options
    // A broker that refuses a link answers it without a source first, and then closes it.
    if (link !== this.#link || typeof link.receiver.source?.address !== 'string') return
    if (this.#isOver) return this.discard()
    this.#end(link, 'the link was attached again')
    this.#wasAttached = true
    this.problem = undefined
    link.gone = Promise.withResolvers()
    link.ownedSinceMs = clock.now()
    link.owned = host.own(this.name, this.#session(link))
  }

  /** Nothing may throw in here: rhea would end the connection, and the message would come again. */
  #arrived({ owned }: Link, { message, delivery }: AmqpContext): void {
    if (owned === undefined || message === undefined || delivery === undefined) return
    const { id, note } = this.#options
    const record = recordFrom({ message, delivery }, this.name, id)
    if (record.isAnonymous) note(withoutId(this.name))
    // What is not taken stays unsettled, and comes again.
    owned.deliver(record)
  }

  #closed(link: Link, error: unknown): void {
    link.gone.resolve()
    if (link !== this.#link) return
    this.#link = undefined
    const reason = reasonOf(error)
    this.#end(link, reason, error)
    link.session.close()
    if (this.#isOver) return
    this.problem = `${this.name} was detached: ${reason}`
    if (isUnauthorized(error)) return this.#failed('may not be read', error)
    if (isMissing(error) && !this.#wasAttached) return this.#failed('does not exist', error)
    this.#options.host.report('detached', { source: this.name, reason }, error)
    this.#attachLater(link)
  }

  #failed(what: string, error: unknown): void {
    this.#options.host.failed(unavailable(`${this.name} ${what}: ${reasonOf(error)}`, error))
  }

  #attachLater({ ownedSinceMs }: Link): void {
    const { clock } = this.#options
    if (ownedSinceMs > 0 && clock.now() - ownedSinceMs > longestWaitMs) this.#waitMs = firstWaitMs
    this.#cancelWait = clock.after(this.#waitMs, () => this.attach())
    this.#waitMs = Math.min(2 * this.#waitMs, longestWaitMs)
  }

  #end(link: Link, reason: string, cause?: unknown): void {
    const { owned } = link
    link.owned = undefined
    link.ended++
    if (owned === undefined || owned.isOver) return
    this.problem = `${this.name} was lost: ${reason}`
    owned.lost(new HoldfastError('stopped', this.problem, cause === undefined ? {} : { cause }))
  }

  #session(link: Link): QueueSession<AmqpRecord> {
    const { receiver } = link
    const { refused } = this.#options
    const { ended } = link
    return {
      credit: (messages) => receiver.add_credit(messages),
      ack: ({ raw }) => {
        const condition = refused.get(raw)
        if (condition === undefined) return raw.delivery.accept()
        // rhea merges neighbours that are settled in one turn, even with different outcomes: then the neighbour is rejected
        // too, or this one accepted. In a turn of its own, it is the only one.
        return nextTurn().then(() => {
          if (link.ended === ended) raw.delivery.reject(condition)
        })
      },
      leave: async () => {
        // A rejection may wait for its turn.
        await nextTurn()
        if (link === this.#link) this.#link = undefined
        // The answer says that the acks are in, and that the rest is back in its places.
        if (receiver.is_open()) {
          this.#close(link)
          await link.gone.promise
        }
        link.session.close()
      },
    }
  }

  /** To close the link of a subscription is to delete the subscription with all that waits in it. */
  #close({ receiver }: Link): void {
    if (isSubscription(this.#options.source)) receiver.detach()
    else receiver.close()
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve))
}

function ignore(): void {}

function withoutId(source: string): string {
  return `${source} has messages without an id: when one is redelivered nobody knows it again, so no duplicate is suppressed. Set message-id when publishing`
}
