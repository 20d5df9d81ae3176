import type { Channel, ConsumeMessage } from 'amqplib'
import { Order, type Billing } from './billing.ts'

/** The service as it was. */
export async function runBefore(channel: Channel, queue: string, { charge }: Billing): Promise<void> {
  await channel.prefetch(20)
  await channel.consume(queue, (message) => {
    if (message === null) return
    handle(message).then(
      () => channel.ack(message),
      () => channel.nack(message),
    )
  })

  async function handle({ content }: ConsumeMessage): Promise<void> {
    await charge(Order.parse(JSON.parse(content.toString())))
  }
}
