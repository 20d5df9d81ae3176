import { setTimeout as sleep } from 'node:timers/promises'
import { subscribe, type Publisher } from 'holdfast'
import { outboxRelay } from 'holdfast/outbox'
import { migrate, postgresOutboxStore } from 'holdfast/postgres'
import pg from 'pg'
import { audit, isKept } from './audit.ts'
import { billing } from './billing.ts'
import { broker } from './broker.ts'
import { database } from './database.ts'
import { orderService } from './orders.ts'
import { publishedDirectly } from './directly.ts'
import { giveUp, settingsFrom } from './settings.ts'

const settings = settingsFrom(process.argv.slice(2))
const unique = `outbox_example_${Date.now().toString(36)}`
const schema = unique
const topic = unique

const { url, close: closeDatabase } = await database(settings.postgres).catch(giveUp)
const pool = new pg.Pool({ connectionString: url, max: 70 })
const claims = new pg.Pool({ connectionString: url, max: 4 })
// An idle connection that breaks, as at the end when the server goes, must not end the process.
for (const each of [pool, claims]) each.on('error', () => {})
const { publisher, consumer, close: closeBroker } = await broker(settings.kafka, topic).catch(giveUp)
console.log(
  `PostgreSQL ${settings.postgres === null ? 'embedded' : 'real'}, ${settings.kafka === null ? 'a broker in memory' : 'Kafka'}`,
)

await migrate(pool, { schema })
await pool.query(`
  create table ${schema}.customer (name text primary key, orders int not null default 1);
  create table ${schema}.orders (id text primary key, customer text not null, number int not null, cents int not null);
  create table ${schema}.charge (seq bigserial, order_id text not null, customer text not null, number int not null, cents int not null)`)

// The broker is away for a moment; the outbox waits for it.
let published = 0
let outage = false
const wire: Publisher = {
  async publish(messages, options) {
    if (outage) throw new Error('the broker is away')
    await publisher.publish(messages, options)
    published += messages.length
  },
}
let outages = 0
let suppressed = 0
let stale = 0
subscribe('outbox-outage', () => outages++)
subscribe('settled', ({ outcome }) => {
  if (outcome === 'duplicate') suppressed++
  if (outcome === 'stale') stale++
})

const store = postgresOutboxStore(pool, { schema })
function startRelay(name: string) {
  const relay = outboxRelay({ store, publisher: wire, leaseMs: 2000, batchRows: 50, name })
  const stop = new AbortController()
  const done = relay.run(stop.signal)
  return { poke: relay.poke, stop: () => stop.abort(), done }
}
const relays = [startRelay('relay-1'), startRelay('relay-2')]
const poke = () => relays.forEach((relay) => relay.poke())
const stopConsumer = new AbortController()
const claimed = settings.without !== 'claims'
const consuming = consumer(billing({ pool, claims, schema, claimed }), unique).run(stopConsumer.signal)

const outbox = settings.without === 'outbox' ? publishedDirectly(wire) : undefined
const app = orderService({ pool, topic, schema, outbox })
const address = await app.listen({ port: 0, host: '127.0.0.1' })
let placed = 0
let refused = 0
async function customer(name: string): Promise<void> {
  while (placed + refused < settings.orders) {
    const orderId = `order-${placed + refused + 1}`
    // One order in twenty has nothing to pay, and is rolled back after its event was added.
    const cents = (placed + refused) % 20 === 19 ? 0 : 450
    refused += cents === 0 ? 1 : 0
    placed += cents === 0 ? 0 : 1
    const body = JSON.stringify({ orderId, customer: name, cents })
    const answer = await fetch(`${address}/orders`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    })
    if (answer.status !== (cents === 0 ? 422 : 201))
      throw new Error(`${orderId}: ${answer.status} ${await answer.text()}`)
    poke()
  }
}
const customers = Promise.all(Array.from({ length: 16 }, (_, n) => customer(`customer-${n}`)))
await sleep(300)
outage = true
await sleep(400)
outage = false
relays[0]?.stop()
relays.push(startRelay('relay-3'))
await customers

// What was lost with a broker that was away never comes.
const endMs = Date.now() + (settings.without === 'outbox' ? 3_000 : 60_000)
let result = await audit(pool, schema)
while (result.missing > 0 && Date.now() < endMs) {
  await sleep(100)
  result = await audit(pool, schema)
}
await app.close()
for (const relay of relays) relay.stop()
await Promise.all(relays.map(({ done }) => done))
stopConsumer.abort()
await consuming
result = await audit(pool, schema)

console.log(`  orders placed            ${result.placed}, and ${refused} rolled back`)
console.log(`  messages published       ${published}${published > result.placed ? ', repeats included' : ''}`)
console.log(`  publish attempts refused ${outages}, while the broker was away`)
console.log(`  repeats suppressed       ${suppressed} duplicates, ${stale} stale`)
console.log(
  `  charges                  ${result.charged}: ${result.missing} missing, ${result.doubled} doubled, ${result.invented} invented`,
)
console.log(`  out of a customer's order ${result.outOfOrder}`)
console.log(isKept(result) ? 'kept: every order was charged once, in order' : 'BROKEN: see above')

await closeBroker()
await pool.query(`drop schema ${schema} cascade`)
await Promise.all([pool.end(), claims.end()])
await closeDatabase()
process.exit(isKept(result) ? 0 : 1)
