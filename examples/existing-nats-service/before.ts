import type { Consumer, JsMsg } from '@nats-io/jetstream'
import { Order, type Billing } from './billing.ts'

/** The service as it was. */
export async function runBefore(consumer: Consumer, { charge }: Billing): Promise<() => void> {
  const messages = await consumer.consume({
    callback: (message) => {
      handle(message).then(
        () => message.ack(),
        () => message.nak(),
      )
    },
  })
  return () => messages.stop()

  async function handle(message: JsMsg): Promise<void> {
    await charge(Order.parse(message.json()))
  }
}
