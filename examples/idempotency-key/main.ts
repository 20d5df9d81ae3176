import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json, PermanentError, pipeline, retry } from 'holdfast'
import { memoryIdempotencyStore } from 'holdfast/memory'
import { remember } from 'holdfast/results'
import { z } from 'zod'
import { endpoint } from './endpoint.ts'

const Charge = z.object({ card: z.string(), cents: z.number().int() })

interface Receipt {
  readonly receipt: number
  readonly cents: number
  readonly note?: string
}

// In a service of more than one process: postgresIdempotencyStore(pool), and transaction(pool) before the handler.
const answers = remember<z.infer<typeof Charge>, Receipt>({
  store: memoryIdempotencyStore(),
  fingerprint: true,
  maxBytes: 1000,
})

let charges = 0
const bank = { answers: Promise.resolve() }

const payments = pipeline('api.payments')
  .decode(json(Charge))
  .use(answers.stage)
  .use(retry({ maxAttempts: 3 }))
  .handle(
    answers.handler(async ({ message: { body } }) => {
      if (body.card === 'stolen') throw new PermanentError('the card was declined')
      await bank.answers
      charges += 1
      console.log(`  charged ${body.cents} cents`)
      return { receipt: charges, cents: body.cents, ...(body.card === 'long' && { note: 'x'.repeat(2000) }) }
    }),
  )

const server = createServer(endpoint((id, body) => answers.call(payments, { message: { id, body } }))).listen(
  0,
  '127.0.0.1',
)
await once(server, 'listening')
const { port } = server.address() as AddressInfo

async function post(what: string, key: string, charge: unknown): Promise<void> {
  const headers = { 'idempotency-key': key }
  const answer = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', headers, body: JSON.stringify(charge) })
  const text = await answer.text()
  const replayed = answer.headers.has('idempotency-replayed') ? ', replayed' : ''
  console.log(`${what}: ${answer.status} ${text.length > 100 ? `${text.length} characters` : text}${replayed}`)
}

await post('a charge', 'k-1', { card: 'visa', cents: 450 })
await post('the same again', 'k-1', { card: 'visa', cents: 450 })
await post('the same key, another body', 'k-1', { card: 'visa', cents: 99 })

const gate = Promise.withResolvers<void>()
bank.answers = gate.promise
const first = post('a slow charge', 'k-2', { card: 'visa', cents: 300 })
await new Promise((resolve) => setTimeout(resolve, 100))
await post('the same key in flight', 'k-2', { card: 'visa', cents: 300 })
gate.resolve()
await first
await post('the same key afterwards', 'k-2', { card: 'visa', cents: 300 })

await post('a stolen card', 'k-3', { card: 'stolen', cents: 1 })
await post('the same again', 'k-3', { card: 'stolen', cents: 1 })

await post('a long receipt', 'k-4', { card: 'long', cents: 200 })
await post('the same again', 'k-4', { card: 'long', cents: 200 })
console.log(`charges: ${charges}`)
server.close()
