import { json, type Delivery, type Bytes, type Transactional } from 'holdfast'
import { idFrom } from 'holdfast/flow'
import type { Outbox } from 'holdfast/outbox'
import type pg from 'pg'
import { z } from 'zod'

const Body = z.object({ order: z.string() })
export type Order = z.infer<typeof Body>
export const OrderCodec = json(Body)

/** Who handles what. Each type of message is a topic of its own. */
export const topics = {
  coordinator: ['order.placed', 'stock.taken', 'card.charged', 'card.refused', 'deadline.reached'],
  stock: ['stock.take', 'stock.return'],
  payment: ['card.charge', 'card.refund'],
} as const
export type Topic = (typeof topics)[keyof typeof topics][number]

/** A step of the saga: it runs in a transaction, and what it tells commits with it. */
export interface Step {
  readonly tx: pg.PoolClient
  readonly order: string
  /** Sends a message about the order, maybe later. Its id is the same each time the step runs. */
  tell(topic: Topic, delayMs?: number): Promise<void>
}

export type Entry = Delivery<Bytes> & Transactional<pg.PoolClient>

export function stepOf(delivery: Omit<Entry, 'message'> & Delivery<Order>, outbox: Outbox<pg.PoolClient>): Step {
  const { tx, message } = delivery
  const { order } = message.body
  return {
    tx,
    order,
    async tell(topic, delayMs) {
      const body = Buffer.from(JSON.stringify({ order }))
      const delay = delayMs === undefined ? {} : { delayUntil: Date.now() + delayMs }
      await outbox.add(tx, { destination: topic, key: order, id: idFrom(delivery, topic), body, ...delay })
    },
  }
}
