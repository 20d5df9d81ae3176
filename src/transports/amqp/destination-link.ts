import type { Clock } from '../../core/clock.ts'
import { isRefusal, isUnauthorized, outcomeError } from './errors.ts'
import type { AmqpConnection, AmqpDelivery, AmqpSender, AmqpSession } from './rhea-client.ts'
import type { AmqpTerminus } from './terminus.ts'

/** One message on its way. */
export interface Sending {
  readonly bytes: Buffer
  /** Of one lane, only one is under way. `null`: it waits for nothing. */
  readonly lane: string | null
  /** Told once: nothing, or why the broker did not take it. */
  readonly settle: (error?: unknown) => void
  /** Nobody waits for it any more. */
  isDropped: boolean
}

const firstWaitMs = 50
const longestWaitMs = 2_000

/**
 * Sends to one destination, on a link in a session of its own: a destination without credit would hold the others of its
 * session. Keeps what has no outcome yet: rhea forgets it with the connection, without a word.
 */
export class DestinationLink {
  readonly #connection: AmqpConnection
  readonly #target: AmqpTerminus
  readonly #clock: Clock
  #link: { readonly session: AmqpSession; readonly sender: AmqpSender } | undefined
  /** What may leave now, in order. */
  #ready: Sending[] = []
  /** What waits behind the first of its lane; a lane without an entry is free. */
  readonly #behind = new Map<string, Sending[]>()
  readonly #underWay = new Map<AmqpDelivery, Sending>()
  /** rhea takes the credit of what was sent at the end of the turn. */
  #sentThisTurn = 0
  #waitMs = firstWaitMs
  #cancelWait = (): void => {}
  #isClosed = false

  constructor(connection: AmqpConnection, target: AmqpTerminus, clock: Clock) {
    this.#connection = connection
    this.#target = target
    this.#clock = clock
  }

  add(sending: Sending): void {
    const { lane } = sending
    const behind = lane === null ? undefined : this.#behind.get(lane)
    if (behind !== undefined) return void behind.push(sending)
    if (lane !== null) this.#behind.set(lane, [])
    this.#ready.push(sending)
  }

  /** Forgets what nobody waits for. */
  purge(): void {
    for (const [lane, behind] of this.#behind) this.#behind.set(lane, behind.filter(isWanted))
    const dropped = this.#ready.filter((sending) => !isWanted(sending))
    this.#ready = this.#ready.filter(isWanted)
    for (const sending of dropped) this.#next(sending)
  }

  /** Sends what there is credit for. */
  flush(): void {
    this.attach()
    const link = this.#link
    if (link?.sender.is_open() !== true) return
    const { sender } = link
    let sent = 0
    for (const sending of this.#ready) {
      if (!sender.sendable() || this.#sentThisTurn >= (sender.credit ?? Infinity)) break
      sent++
      if (sending.isDropped) this.#next(sending)
      else if (this.#isTooLarge(sending)) this.#settle(sending, tooLarge(sending, sender))
      else this.#send(sending, sender)
    }
    this.#ready.splice(0, sent)
  }

  /** Attaches where no link is there. On a connection that is not open, rhea would lose what is begun. */
  attach(): void {
    if (this.#isClosed || this.#link !== undefined || !this.#connection.is_open()) return
    this.#cancelWait()
    const session = this.#connection.create_session()
    session.open()
    const sender = session.open_sender({ target: { ...this.#target }, source: {}, autosettle: true })
    const link = { session, sender }
    this.#link = link
    for (const event of ['sender_open', 'sendable']) sender.on(event, () => link === this.#link && this.flush())
    sender.on('accepted', ({ delivery }) => this.#answered(delivery))
    sender.on('rejected', ({ delivery }) => this.#answered(delivery, outcomeError(delivery?.remote_state)))
    sender.on('released', ({ delivery }) => this.#answered(delivery, { condition: 'amqp:released' }))
    sender.on('sender_close', () => this.#closed(link, sender.error))
    session.on('session_close', () => this.#closed(link, session.error))
    for (const event of ['modified', 'settled', 'sender_error', 'sender_flow']) sender.on(event, ignore)
    session.on('session_error', ignore)
  }

  /** What was sent and not answered goes again, before what waits. rhea attaches the link again by itself. */
  lost(): void {
    const again = [...this.#underWay.values()]
    this.#underWay.clear()
    this.#ready = [...again, ...this.#ready]
  }

  /** All that has no outcome gets this one. */
  fail(error: unknown): void {
    this.lost()
    const all = [...this.#ready, ...[...this.#behind.values()].flat()]
    this.#ready = []
    this.#behind.clear()
    for (const sending of all) if (!sending.isDropped) sending.settle(error)
  }

  close(): void {
    this.#isClosed = true
    this.#cancelWait()
    const link = this.#link
    this.#link = undefined
    link?.sender.close()
    link?.session.close()
  }

  #send(sending: Sending, sender: AmqpSender): void {
    if (this.#sentThisTurn++ === 0) process.nextTick(() => (this.#sentThisTurn = 0))
    this.#underWay.set(sender.send(sending.bytes, undefined, 0), sending)
  }

  #isTooLarge({ bytes }: Sending): boolean {
    const most = this.#link?.sender.max_message_size ?? 0
    return most > 0 && bytes.length > most
  }

  #answered(delivery: AmqpDelivery | undefined, error?: unknown): void {
    const sending = delivery === undefined ? undefined : this.#underWay.get(delivery)
    if (delivery === undefined || sending === undefined) return
    this.#underWay.delete(delivery)
    this.#waitMs = firstWaitMs
    this.#settle(sending, error)
    this.flush()
  }

  #settle(sending: Sending, error?: unknown): void {
    if (!sending.isDropped) sending.settle(error)
    this.#next(sending)
  }

  #next({ lane }: Sending): void {
    if (lane === null) return
    const behind = this.#behind.get(lane)
    const next = behind?.shift()
    if (next === undefined) this.#behind.delete(lane)
    else this.#ready.push(next)
  }

  #closed(link: { readonly session: AmqpSession }, error: unknown): void {
    if (link !== this.#link) return
    link.session.close()
    this.#link = undefined
    if (isRefusal(error) || isUnauthorized(error)) return this.fail(error)
    this.lost()
    if (this.#ready.length === 0) return
    this.#cancelWait = this.#clock.after(this.#waitMs, () => this.flush())
    this.#waitMs = Math.min(2 * this.#waitMs, longestWaitMs)
  }
}

function isWanted({ isDropped }: Sending): boolean {
  return !isDropped
}

function tooLarge({ bytes }: Sending, { max_message_size: most }: AmqpSender): object {
  return {
    condition: 'amqp:link:message-size-exceeded',
    description: `${bytes.length} bytes, and the broker takes ${most}`,
  }
}

function ignore(): void {}
