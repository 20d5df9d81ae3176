import { idempotency, json, pipeline, type Delivery, type IdempotencyStore, type Pipeline } from 'holdfast'
import { z } from 'zod'

export const Order = z.object({ id: z.string(), cents: z.number().int() })
export type Order = z.infer<typeof Order>

/** What the handler does to the world: in production, a call of the payment provider. */
export interface Payments {
  charge(orderId: string, cents: number): Promise<void>
}

/** The handler that there was: it charges whenever it is called. */
export async function chargeCustomer({ message: { body } }: Delivery<Order>, payments: Payments): Promise<void> {
  await payments.charge(body.id, body.cents)
}

/** The same handler, wrapped: an order that comes twice is charged once. */
export function billing(store: IdempotencyStore, handler: (delivery: Delivery<Order>) => Promise<void>): Pipeline {
  return pipeline('billing.orders').decode(json(Order)).use(idempotency({ store })).handle(handler)
}
