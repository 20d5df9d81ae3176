import type { Consumer, JetStreamClient } from '@nats-io/jetstream'
import { json, resilient } from 'holdfast'
import { memoryIdempotencyStore } from 'holdfast/memory'
import { eachMessage, natsPublisher } from 'holdfast/nats'
import { Order, type Billing } from './billing.ts'

/** The service as it is now: what it consumes with has changed. */
export async function runAfter(consumer: Consumer, js: JetStreamClient, { charge }: Billing): Promise<() => void> {
  const orders = resilient('billing', {
    codec: json(Order),
    // In production: postgresIdempotencyStore(pool) or redisIdempotencyStore(redis).
    store: memoryIdempotencyStore(),
    // Its producers set no message id, so the order's own number tells a duplicate.
    key: ({ message }) => message.body.orderId,
    deadLetters: natsPublisher(js, { dedupe: null }),
    log: false,
  }).handle(({ message }) => charge(message.body))

  const messages = await consumer.consume({ callback: eachMessage(orders) })
  return () => messages.stop()
}
