import { setTimeout as sleep } from 'node:timers/promises'
import { PermanentError, resilient, json } from 'holdfast'
import { redriveWorker } from 'holdfast/dead-letters'
import { memoryBroker, memoryConsumer } from 'holdfast/memory'
import { operations } from 'holdfast/operations'
import {
  migrate,
  postgresDeadLetters,
  postgresIdempotencyStore,
  postgresOperatorStore,
  transaction,
} from 'holdfast/postgres'
import { z } from 'zod'
import pg from 'pg'
import { database } from '../postgres-outbox/database.ts'

const Order = z.object({ order: z.string(), country: z.string(), cents: z.number().int() })
const { url, close } = await database(process.env['HOLDFAST_POSTGRES_URL'] ?? null)
const pool = new pg.Pool({ connectionString: url, max: 10 })
const claims = new pg.Pool({ connectionString: url, max: 2 })
for (const each of [pool, claims]) each.on('error', () => {})
const schema = `dead_letters_example_${Date.now().toString(36)}`
await migrate(pool, { schema })
await pool.query(`create table ${schema}.invoice (order_id text primary key, cents int not null)`)

// Dead letters go to a table, where a person can look at them and send them again.
const letters = postgresDeadLetters(pool, { schema })
const store = postgresIdempotencyStore(claims, { schema })

/** The billing service, with three bugs until it is fixed. */
function deploy(fixed: boolean) {
  const rates: Readonly<Record<string, number>> = fixed ? { DE: 0.19, FR: 0.2, AT: 0.2 } : { DE: 0.19 }
  return resilient('billing', { codec: json(Order), store, deadLetters: letters, maxAttempts: 1, log: false })
    .use(transaction(pool))
    .handle(async ({ message: { body }, tx }) => {
      const rate = rates[body.country]
      if (rate === undefined) throw new PermanentError(`no tax rate for country ${body.country}`)
      if (!fixed && body.cents > 1_000_000) throw new RangeError(`amount ${body.cents} exceeds the limit`)
      await tx.query(`insert into ${schema}.invoice values ($1, $2)`, [body.order, Math.round(body.cents * (1 + rate))])
    })
}

// 1. A hundred orders, and a bug.
const broker = memoryBroker()
const ids = Array.from({ length: 100 }, (_, n) => n)
await broker.publisher().publish(
  ids.map((n) => ({
    destination: 'orders',
    id: `order-${n}`,
    type: 'order.placed',
    key: `customer-${n % 10}`,
    headers: {},
    timeMs: Date.now(),
    body: Buffer.from(
      JSON.stringify({
        order: `order-${n}`,
        country: n % 5 === 1 ? 'FR' : n % 10 === 2 ? 'AT' : 'DE',
        cents: n % 10 === 3 ? 2_000_000 + n : 1000 + n,
      }),
    ),
  })),
)
const stopConsumer = new AbortController()
const consuming = memoryConsumer({ broker, groupId: 'billing', topics: ['orders'], pipeline: deploy(false) }).run(
  stopConsumer.signal,
)
async function invoices(): Promise<number> {
  const { rows } = await pool.query<{ n: number }>(`select count(*)::int as n from ${schema}.invoice`)
  return rows[0]?.n ?? 0
}
while ((await invoices()) + (await letters.count({})) < ids.length) await sleep(20)
stopConsumer.abort()
await consuming
console.log(`1. ${await invoices()} invoices, ${await letters.count({})} dead letters`)

// 2. What is dead, and why?
const groups = await letters.groups({})
for (const group of groups) console.log(`2. ${group.letters} of ${group.pipeline}: ${group.errorName}: ${group.shape}`)

// 3. The fix is deployed: the service runs a redrive worker beside its consumer.
const fixed = deploy(true)
const stopWorker = new AbortController()
const working = redriveWorker({ store: letters, pipelines: [fixed], pollMs: 50 }).run(stopWorker.signal)

/** Waits until the redrive does nothing more, and says how its letters ended. */
async function ended(id: string): Promise<string> {
  for (;;) {
    const redrive = await letters.redrive(id)
    if (redrive !== undefined && redrive.state !== 'running')
      return `${redrive.state}, ${redrive.total - redrive.open} of ${redrive.total}: ${JSON.stringify(redrive.results)}`
    await sleep(20)
  }
}

// 4. A canary of three letters of the largest group, at 50 a second; then the rest of it.
const group = groups[0]?.group ?? ''
const preview = await letters.preview({ group })
console.log(`4. a dry run: ${preview.matched} match, of ${preview.keys} customers`)
const canary = await letters.create({ group }, { canary: 3, perSecond: 50 }, 'ana')
if (canary === undefined) throw new Error('nothing to redrive')
console.log(`4. canary: ${await ended(canary.id)}`)
await letters.resume(canary.id, 'ana')
console.log(`4. resumed: ${await ended(canary.id)}`)

// 5. All the others.
const rest = await letters.create({}, {}, 'ana')
if (rest === undefined) throw new Error('nothing to redrive')
console.log(`5. the others: ${await ended(rest.id)}`)
stopWorker.abort()
await working

// 6. The audit: every order has one invoice, and it is written down who did what.
const operator = operations({ store: postgresOperatorStore(pool, { schema, letters }) })
for (const { by, act, redrive } of (await letters.log()).toReversed()) console.log(`6. ${by}: ${act} ${redrive ?? ''}`)
const told = await operator.explain('order-1')
console.log(`6. order-1: ${told.happenings.map(({ source }) => source).join(' → ')}`)
const missing = ids.length - (await invoices())
console.log(`6. ${await invoices()} invoices, ${missing} missing, ${await letters.count({})} dead letters`)

await pool.query(`drop schema ${schema} cascade`)
await Promise.all([pool.end(), claims.end()])
await close()
process.exitCode = missing === 0 ? 0 : 1
