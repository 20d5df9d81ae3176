import type { Consumer } from 'kafkajs'
import { Order, type Billing } from './billing.ts'

/** The service as it was. */
export async function runBefore(consumer: Consumer, { charge }: Billing): Promise<void> {
  await consumer.run({
    eachMessage: ({ message }) => charge(Order.parse(JSON.parse(String(message.value)))),
  })
}
