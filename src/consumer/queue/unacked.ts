import type { QueueSession } from './queue-client.ts'

/** One message in a lane. */
interface Unsettled<Raw> {
  readonly record: Raw
  done: boolean
}

type Acking<Raw> = Pick<QueueSession<Raw>, 'ack' | 'ackUpTo' | 'cumulative'>

/**
 * What one ownership has not acked, in the order of arrival.
 * What ends in one turn of the event loop is acked together, where the broker can ack all up to a message: a frame for
 * each costs a client of RabbitMQ a third of what the message costs, and the broker more.
 */
export class Unacked<Raw, Item extends Unsettled<Raw>> {
  readonly #session: Acking<Raw>
  readonly #failed: (error: unknown) => void
  readonly #items = new Set<Item>()
  /** Done since acks went out last. */
  #done: Item[] = []
  readonly #flush = (): void => this.flush()

  constructor(session: Acking<Raw>, failed: (error: unknown) => void) {
    this.#session = session
    this.#failed = failed
  }

  get size(): number {
    return this.#items.size
  }

  get records(): Raw[] {
    return Array.from(this.#items, ({ record }) => record)
  }

  add(item: Item): void {
    this.#items.add(item)
  }

  done(item: Item): void {
    if (this.#session.ackUpTo === undefined && this.#session.cumulative !== true) {
      this.#items.delete(item)
      this.#ack(item)
      return
    }
    item.done = true
    if (this.#done.push(item) === 1) queueMicrotask(this.#flush)
  }

  /** Acks what is done: up to the last one that has nothing unfinished before it together, and each of the others by itself. */
  flush(): void {
    if (this.#done.length === 0) return
    const done = this.#done
    this.#done = []
    this.#ackOldest()
    if (this.#session.cumulative === true) return
    for (const item of done) if (this.#items.delete(item)) this.#ack(item)
  }

  #ackOldest(): void {
    let last: Item | undefined
    let count = 0
    for (const item of this.#items) {
      if (!item.done) break
      this.#items.delete(item)
      last = item
      count++
    }
    if (last !== undefined) this.#ack(last, count > 1)
  }

  /** Nothing more is acked. */
  forget(): void {
    this.#items.clear()
    this.#done = []
  }

  #ack({ record }: Item, andBefore = false): void {
    const session = this.#session
    try {
      const acked = andBefore && session.ackUpTo !== undefined ? session.ackUpTo(record) : session.ack(record)
      acked?.catch(this.#failed)
    } catch (error) {
      this.#failed(error)
    }
  }
}
