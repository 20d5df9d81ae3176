import { setTimeout as sleep } from 'node:timers/promises'
import { jetstream, jetstreamManager, type Consumer } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { addressOf } from '../services.ts'
import { runAfter } from './after.ts'
import { runBefore } from './before.ts'
import { billing, type Billing } from './billing.ts'

const nc = await connect({ servers: process.env['NATS_URL'] || (await addressOf('nats')), noAsyncTraces: true })
const js = jetstream(nc)
const jsm = await jetstreamManager(nc)
const name = `orders-${Date.now().toString(36)}`
const deadLetters = `${name}.dead-letters`
const order = (number: number) => JSON.stringify({ orderId: `order-${number}`, cents: 450 })
await jsm.streams.add({ name: deadLetters.replace('.', '-'), subjects: [deadLetters] })

/** Gives a service a stream of orders until it has charged all of them, and a moment longer. */
async function observe(title: string, run: (consumer: Consumer, shop: Billing) => Promise<() => void>): Promise<void> {
  await jsm.streams.add({ name, subjects: [name] })
  for (const body of [order(1), order(2), order(2), order(3), 'orderId=order-4', order(5)]) await js.publish(name, body)
  await jsm.consumers.add(name, { durable_name: 'billing', ack_policy: 'explicit' })
  const shop = billing()
  const stop = await run(await js.consumers.get(name, 'billing'), shop)
  const all = ['order-1', 'order-2', 'order-3', 'order-5']
  const endsMs = Date.now() + 30_000
  while (!all.every((id) => shop.charged.includes(id)) && Date.now() < endsMs) await sleep(20)
  await sleep(1000)
  stop()
  const { num_ack_pending: unacked, delivered } = await jsm.consumers.info(name, 'billing')
  await jsm.streams.delete(name)
  console.log(`${title}: charged ${[...shop.charged].sort().join(', ')}; not acked: ${unacked}`)
  if (delivered.consumer_seq > 50)
    console.log('        and the one that is no JSON was delivered again and again, as fast as it can')
}

console.log('in the stream: order-1, order-2 twice, order-3 whose first charge fails, one that is no JSON, order-5')
try {
  await observe('before', runBefore)
  await observe('after', (consumer, shop) => runAfter(consumer, js, shop))
  const { state } = await jsm.streams.info(deadLetters.replace('.', '-'))
  console.log(`       dead letters: ${state.messages}`)
} finally {
  await jsm.streams.delete(deadLetters.replace('.', '-'))
  await nc.close()
}
