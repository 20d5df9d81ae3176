import { idempotency, json, pipeline, retry, type Bytes, type Delivery, type PipelineBuilder } from 'holdfast'
import { memoryIdempotencyStore } from 'holdfast/memory'
import { pipelineToken } from 'holdfast/nest'
import { z } from 'zod'

const Order = z.object({ id: z.string(), cups: z.number().int() })
export type Order = z.infer<typeof Order>

/** Names the pipeline, and says what its handler gets. */
export const Orders = pipelineToken<Delivery<Order>>('cafe.orders')

/** The stack round the handler. In a service: postgresIdempotencyStore(pool), with a pool that the module injects. */
export function ordersStack(): PipelineBuilder<Bytes, Order, unknown> {
  return pipeline('cafe.orders')
    .decode(json(Order))
    .use(idempotency({ store: memoryIdempotencyStore() }))
    .use(retry({ maxAttempts: 3, backoff: { initialMs: 10 } }))
}
