import { json, resilient } from 'holdfast'
import { eachMessage, kafkajsPublisher } from 'holdfast/kafkajs'
import { memoryIdempotencyStore } from 'holdfast/memory'
import type { Consumer, Producer } from 'kafkajs'
import { Order, type Billing } from './billing.ts'

/** The service as it is now: `eachMessage` has changed. */
export async function runAfter(consumer: Consumer, producer: Producer, { charge }: Billing): Promise<void> {
  const orders = resilient('billing', {
    codec: json(Order),
    // In production: postgresIdempotencyStore(pool) or redisIdempotencyStore(redis).
    store: memoryIdempotencyStore(),
    // Its producers set no message id, so the order's own number tells a duplicate.
    key: ({ message }) => message.body.orderId,
    deadLetters: kafkajsPublisher(producer),
    log: false,
  }).handle(({ message }) => charge(message.body))

  await consumer.run({
    eachMessage: eachMessage(orders, { consumer }),
  })
}
