import { readFile } from 'node:fs/promises'
import type { SQSEvent } from 'aws-lambda'
import { deadLetter, idempotency, json, pipeline, retry, type Outgoing } from 'holdfast'
import { memoryIdempotencyStore } from 'holdfast/memory'
import { z } from 'zod'
import { sqsHandler } from './sqs.ts'

const Order = z.object({ order: z.string(), cups: z.number() })

let grinderIsBroken = true
const buried: Outgoing[] = []

const orders = pipeline('cafe.orders')
  // On AWS: a publisher of five lines round SendMessageBatch to the dead-letter queue.
  .use(deadLetter({ to: { publish: async (messages) => void buried.push(...messages) } }))
  .decode(json(Order))
  // On AWS: postgresIdempotencyStore(pool) or redisIdempotencyStore(redis). Two messages for one order are one order.
  .use(idempotency({ store: memoryIdempotencyStore(), key: ({ message }) => message.body.order }))
  // Time in a Lambda is paid for: no wait is slept, SQS makes it.
  .use(retry({ maxAttempts: 5, sleepUpToMs: 0 }))
  .handle(async ({ message: { body } }) => {
    if (grinderIsBroken && body.order === 'order-2') throw new Error('the grinder is broken')
    console.log(`  brewed ${body.cups} for ${body.order}`)
  })

/** What Lambda calls. */
export const handler = sqsHandler(orders)

// Here, in place of AWS: the batch of event.json, and then what SQS sends again.
const batch = JSON.parse(await readFile(new URL('event.json', import.meta.url), 'utf8')) as SQSEvent
console.log(`a batch of ${batch.Records.length}`)
const { batchItemFailures } = await handler(batch)
const failedIds = batchItemFailures.map(({ itemIdentifier }) => itemIdentifier)
console.log(`handed back: ${failedIds.join(', ')}`)

grinderIsBroken = false
console.log('the grinder is mended')
const again = await handler({ Records: batch.Records.filter(({ messageId }) => failedIds.includes(messageId)) })
console.log(`handed back: ${again.batchItemFailures.length === 0 ? 'none' : again.batchItemFailures.length}`)
console.log(`dead letters: ${buried.map(({ id }) => id).join(', ')}`)
