import { json, resilient } from 'holdfast'
import { memoryIdempotencyStore } from 'holdfast/memory'
import { eachMessage, rabbitmqPublisher } from 'holdfast/rabbitmq'
import type { Channel, ChannelModel } from 'amqplib'
import { Order, type Billing } from './billing.ts'

/** The service as it is now: what it consumes with has changed. */
export async function runAfter(
  channel: Channel,
  queue: string,
  publishing: ChannelModel,
  { charge }: Billing,
): Promise<void> {
  const orders = resilient('billing', {
    codec: json(Order),
    // In production: postgresIdempotencyStore(pool) or redisIdempotencyStore(redis).
    store: memoryIdempotencyStore(),
    // Its producers set no message id, so the order's own number tells a duplicate.
    key: ({ message }) => message.body.orderId,
    deadLetters: rabbitmqPublisher(publishing, {
      route: () => ({ exchange: '', routingKey: `${queue}.dead-letters` }),
    }),
    log: false,
  }).handle(({ message }) => charge(message.body))

  await channel.prefetch(20)
  await channel.consume(queue, eachMessage(orders, { channel, queue }))
}
