import type { OutboxMessage } from 'holdfast/outbox'
import { OrderPlaced } from '../contracts.ts'
import type { Placed } from './books.ts'

/** The event of an order. A poison one is cut off in its middle, as by a producer with a bug. */
export function messageOf({ order, poison }: Placed, topic: string): OutboxMessage {
  const { type, key, body, headers, id } = OrderPlaced.message(order, { id: order.id })
  const cut = body !== null && poison ? body.subarray(0, body.length / 2) : body
  return { destination: topic, id, type, key, body: cut, headers: { ...headers } }
}
