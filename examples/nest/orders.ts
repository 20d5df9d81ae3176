import { idempotency, pipeline, retry, type Pipeline } from 'holdfast'
import { memoryIdempotencyStore } from 'holdfast/memory'

export interface Order {
  readonly id: string
  readonly cups: number
}

/** The token under which Nest hands out the pipeline. */
export const ORDERS = Symbol('orders')

export function ordersPipeline(barista: { brew(order: Order): Promise<void> }): Pipeline<Order> {
  return pipeline<Order>('cafe.orders')
    .use(idempotency({ store: memoryIdempotencyStore() }))
    .use(retry({ maxAttempts: 3, backoff: { initialMs: 10 } }))
    .handle(({ message }) => barista.brew(message.body))
}
