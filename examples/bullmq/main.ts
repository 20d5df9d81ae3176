import { randomUUID } from 'node:crypto'
import { Queue, QueueEvents, Worker } from 'bullmq'
import { idempotency, pipeline, PermanentError, RetryLater, type Outcome } from 'holdfast'
import { memoryIdempotencyStore } from 'holdfast/memory'
import { addressOf } from '../services.ts'
import { processor } from './processor.ts'

interface Order {
  readonly order: string
  readonly cups: number
}

let visits = 0

const brew = pipeline<Order>('cafe.brew')
  // With more than one worker process: redisIdempotencyStore(redis) or postgresIdempotencyStore(pool).
  .use(idempotency({ store: memoryIdempotencyStore(), key: ({ message }) => message.body.order }))
  .handle(async ({ message: { body }, attempt }) => {
    if (body.cups < 1) throw new PermanentError(`${body.cups} cups`)
    if (body.order === 'order-2' && attempt === 1) throw new Error('the grinder is stuck')
    if (body.order === 'order-3' && ++visits === 1) throw new RetryLater(300, { because: 'out of beans' })
    console.log(`  brewed ${body.cups} for ${body.order}, attempt ${attempt}`)
  })

const connection = { url: process.env['REDIS_URL'] || (await addressOf('redis')) }
const name = `holdfast-example-${randomUUID()}`
const queue = new Queue<Order, Outcome>(name, { connection })
const events = new QueueEvents(name, { connection })
const worker = new Worker<Order, Outcome>(name, processor(brew), { connection, concurrency: 4 })

async function order(what: string, body: Order): Promise<void> {
  const job = await queue.add('order', body, { attempts: 3, backoff: { type: 'fixed', delay: 100 } })
  const end = await job.waitUntilFinished(events).catch((error: unknown) => `failed: ${String(error)}`)
  console.log(`${what}: ${end}`)
}

try {
  await events.waitUntilReady()
  await order('an order', { order: 'order-1', cups: 2 })
  await order('a second job for it', { order: 'order-1', cups: 2 })
  await order('one that fails once', { order: 'order-2', cups: 1 })
  await order('one that has to wait', { order: 'order-3', cups: 1 })
  await order('one that cannot be', { order: 'order-4', cups: -1 })
} finally {
  await worker.close()
  await events.close()
  await queue.obliterate({ force: true })
  await queue.close()
}
