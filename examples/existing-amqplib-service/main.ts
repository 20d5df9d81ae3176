import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type Channel } from 'amqplib'
import { addressOf } from '../services.ts'
import { runAfter } from './after.ts'
import { runBefore } from './before.ts'
import { billing, type Billing } from './billing.ts'

const url = process.env['RABBITMQ_URL'] || (await addressOf('rabbitmq'))
const consuming = await connect(url)
// While it is short of memory, RabbitMQ delivers nothing to a connection that publishes.
const publishing = await connect(url)
const admin = await publishing.createConfirmChannel()
const queue = `orders-${Date.now().toString(36)}`
const deadLetters = `${queue}.dead-letters`
const quorum = { arguments: { 'x-queue-type': 'quorum' } }
const order = (number: number) => JSON.stringify({ orderId: `order-${number}`, cents: 450 })
await admin.assertQueue(deadLetters, quorum)

/** Gives a service the queue of orders until it has charged all of them, and a moment longer. */
async function observe(name: string, run: (channel: Channel, shop: Billing) => Promise<void>): Promise<number> {
  await admin.assertQueue(queue, quorum)
  for (const body of [order(1), order(2), order(2), order(3), 'orderId=order-4', order(5)])
    admin.sendToQueue(queue, Buffer.from(body), { persistent: true })
  await admin.waitForConfirms()
  const shop = billing()
  const channel = await consuming.createChannel()
  let deliveries = 0
  channel.on('delivery', () => void deliveries++)
  await run(channel, shop)
  const all = ['order-1', 'order-2', 'order-3', 'order-5']
  const endsMs = Date.now() + 30_000
  while (!all.every((id) => shop.charged.includes(id)) && Date.now() < endsMs) await sleep(20)
  await sleep(1000)
  await channel.close()
  const left = await messagesIn(queue)
  await admin.deleteQueue(queue)
  console.log(`${name}: charged ${[...shop.charged].sort().join(', ')}; left in the queue: ${left}`)
  return deliveries
}

/** What was not acked goes back a moment after its channel has closed, so one look may come too early. */
async function messagesIn(name: string): Promise<number> {
  let most = 0
  for (let looks = 0; looks < 10; looks++) {
    most = Math.max(most, (await admin.checkQueue(name)).messageCount)
    await sleep(100)
  }
  return most
}

console.log('in the queue: order-1, order-2 twice, order-3 whose first charge fails, one that is no JSON, order-5')
try {
  const deliveries = await observe('before', (channel, shop) => runBefore(channel, queue, shop))
  if (deliveries > 50)
    console.log('        and the one that is no JSON was delivered again and again, as fast as it can')
  await observe('after', (channel, shop) => runAfter(channel, queue, publishing, shop))
  console.log(`       dead letters: ${await messagesIn(deadLetters)}`)
} finally {
  await admin.deleteQueue(deadLetters)
  await Promise.all([consuming.close(), publishing.close()])
}
