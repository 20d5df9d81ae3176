import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { idempotency, json, pipeline, retry, RetryLater } from 'holdfast'
import { memoryIdempotencyStore } from 'holdfast/memory'
import { z } from 'zod'
import { sign } from './signature.ts'
import { webhook } from './webhook.ts'

// In production out of a secret store. The sender shows it once, when you register your address.
const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'

const Paid = z.object({ invoice: z.string(), cents: z.number().int() })

let ledgerIsDown = false

const payments = pipeline('shop.payments')
  .decode(json(Paid))
  // In a service of more than one process: postgresIdempotencyStore(pool) or redisIdempotencyStore(redis).
  .use(idempotency({ store: memoryIdempotencyStore() }))
  .use(retry({ maxAttempts: 3 }))
  .handle(async ({ message: { id, body } }) => {
    if (ledgerIsDown) throw new RetryLater(20_000, { because: 'the ledger is being moved' })
    console.log(`  booked ${body.cents} cents for ${body.invoice} (${id})`)
  })

const server = createServer(webhook(payments, { secrets: [secret] })).listen(0, '127.0.0.1')
await once(server, 'listening')
const { port } = server.address() as AddressInfo

async function send(what: string, id: string, body: string, by = secret): Promise<void> {
  const seconds = String(Math.floor(Date.now() / 1000))
  const signature = `v1,${sign(id, seconds, Buffer.from(body), by)}`
  const headers = { 'webhook-id': id, 'webhook-timestamp': seconds, 'webhook-signature': signature }
  const answer = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', headers, body })
  const retryAfter = answer.headers.get('retry-after')
  const wait = retryAfter === null ? '' : `, retry-after ${retryAfter} s`
  console.log(`${what}: ${answer.status} ${(await answer.text()).trim()}${wait}`)
}

await send('an event', 'evt-1', '{ "invoice": "A-17", "cents": 4200 }')
await send('the same event again', 'evt-1', '{ "invoice": "A-17", "cents": 4200 }')
ledgerIsDown = true
await send('while the ledger is down', 'evt-2', '{ "invoice": "A-18", "cents": 900 }')
ledgerIsDown = false
await send('sent again later', 'evt-2', '{ "invoice": "A-18", "cents": 900 }')
await send('no JSON', 'evt-3', 'invoice=A-19')
await send('signed by somebody else', 'evt-4', '{ "invoice": "A-20", "cents": 1 }', 'whsec_b3RoZXI=')
server.close()
