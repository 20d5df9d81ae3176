import { setTimeout as sleep } from 'node:timers/promises'
import { Kafka, logLevel, type Consumer } from 'kafkajs'
import { addressOf } from '../services.ts'
import { createTopics } from '../topics.ts'
import { runAfter } from './after.ts'
import { runBefore } from './before.ts'
import { billing, type Billing } from './billing.ts'

const brokers = (process.env['KAFKA_BROKERS'] || (await addressOf('kafka'))).split(',')
// Few retries, so that the crash below is soon there.
const kafka = new Kafka({ brokers, logLevel: logLevel.NOTHING, retry: { initialRetryTime: 100, retries: 2 } })
const topic = `orders-${Date.now().toString(36)}`
const deadLetters = `${topic}.dead-letters`
const order = (number: number) => ({ value: JSON.stringify({ orderId: `order-${number}`, cents: 450 }) })

const admin = kafka.admin()
const producer = kafka.producer({ idempotent: true })
await Promise.all([admin.connect(), producer.connect()])
await createTopics(admin, [topic, deadLetters])
await producer.send({
  topic,
  messages: [order(1), order(2), order(2), order(3), { value: 'orderId=order-4' }, order(5)],
})
console.log('in the topic: order-1, order-2 twice, order-3 whose first charge fails, one that is no JSON, order-5')

/** Gives a service a consumer of its own until it has come to the last order, or has crashed. */
async function observe(name: string, run: (consumer: Consumer, shop: Billing) => Promise<void>): Promise<void> {
  const consumer = kafka.consumer({ groupId: `${topic}.${name}`, maxWaitTimeInMs: 100 })
  const shop = billing()
  const crashes: Error[] = []
  consumer.on(consumer.events.CRASH, ({ payload: { error } }) => crashes.push(error))
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await run(consumer, shop)
  const endsMs = Date.now() + 30_000
  while (crashes.length === 0 && !shop.charged.includes('order-5') && Date.now() < endsMs) await sleep(20)
  await consumer.disconnect()
  console.log(`${name}: charged ${shop.charged.join(', ')}`)
  if (crashes.length > 0)
    console.log(`${' '.repeat(name.length)}  then the consumer crashed, and would at every restart`)
}

try {
  await observe('before', runBefore)
  await observe('after', (consumer, shop) => runAfter(consumer, producer, shop))
  const [{ high } = { high: '0' }] = await admin.fetchTopicOffsets(deadLetters)
  console.log(`       dead letters: ${high}`)
} finally {
  await admin.deleteTopics({ topics: [topic, deadLetters] })
  await Promise.all([admin.disconnect(), producer.disconnect()])
}
