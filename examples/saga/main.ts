import { setTimeout as sleep } from 'node:timers/promises'
import { deadLetter, idempotency, on, pipeline, retry, route, subscribe, type Handler, type Pipeline } from 'holdfast'
import { memoryBroker, memoryConsumer } from 'holdfast/memory'
import { outboxRelay } from 'holdfast/outbox'
import { migrate, postgresIdempotencyStore, postgresOutbox, postgresOutboxStore, transaction } from 'holdfast/postgres'
import pg from 'pg'
import { database } from '../postgres-outbox/database.ts'
import { withoutFrom } from '../without.ts'
import { audit, isKept, sagaTables } from './audit.ts'
import { coordinator, deadlineMs, lateMs, payment, stock } from './coordinator.ts'
import { OrderCodec, stepOf, topics, type Entry, type Order, type Step } from './messages.ts'

const orders = 100
const bags = 500
const without = withoutFrom(process.argv.slice(2), ['claims', 'guard'])
const { url, close } = await database(process.env['HOLDFAST_POSTGRES_URL'] ?? null)
const schema = `saga_${Date.now().toString(36)}`
const poolOf = (max: number) => new pg.Pool({ connectionString: url, max }).on('error', () => {})
const [pool, claims, relayPool] = [poolOf(26), poolOf(4), poolOf(3)]
await migrate(pool, { schema })
await pool.query(sagaTables(schema, bags))

let duplicates = 0
subscribe('settled', ({ outcome }) => void (outcome === 'duplicate' && duplicates++))

const broker = memoryBroker({ seed: 3, faults: { duplicates: 0.15, lostConfirms: 0.02 } })
const outbox = postgresOutbox({ schema })
const outboxStore = postgresOutboxStore(relayPool, { schema })
const store = postgresIdempotencyStore(claims, { schema })

/** A service: its steps by the type of the message. Each runs in a transaction with its claim and with what it tells. */
function service(name: string, steps: Readonly<Record<string, (step: Step) => Promise<unknown>>>): Pipeline {
  const stack = pipeline(`saga.${name}`).use(deadLetter({ to: broker.publisher(), destination: 'dead' }))
  const rows = Object.entries(steps).map(([topic, step]): [string, Handler<Entry>] => [
    topic,
    on<Order, Entry>(OrderCodec, (delivery) => step(stepOf(delivery, outbox))),
  ])
  return (without.has('claims') ? stack : stack.use(idempotency({ store })))
    .use(retry({ maxAttempts: 5 }))
    .use(transaction(pool))
    .handle(route<Entry>(Object.fromEntries(rows)))
}

const services = {
  coordinator: service('coordinator', coordinator({ schema, guarded: !without.has('guard') })),
  stock: service('stock', stock({ schema, lateMs })),
  payment: service('payment', payment({ schema, lateMs })),
}
const names = ['coordinator', 'stock', 'payment'] as const
const stop = new AbortController()
const running = [
  ...names.map((name) =>
    memoryConsumer({
      ...{ broker, groupId: name, topics: topics[name], pipeline: services[name] },
      ...{ concurrency: 8, redeliverMs: 50 },
    }).run(stop.signal),
  ),
  outboxRelay({ store: outboxStore, publisher: broker.publisher(), duePollMs: 100 }).run(stop.signal),
]

for (let n = 1; n <= orders; n++) {
  const order = `order-${n}`
  const tx = await pool.connect()
  await tx.query('begin')
  await outbox.add(tx, {
    destination: 'order.placed',
    key: order,
    id: order,
    body: Buffer.from(JSON.stringify({ order })),
  })
  await tx.query('commit')
  tx.release()
}

/** Messages that somebody still has to handle, deadlines included. */
async function open(): Promise<number> {
  const { pending, delayed } = await outboxStore.status()
  return names
    .flatMap((name) => topics[name].map((topic) => broker.lag(name, topic)))
    .reduce((a, b) => a + b, pending + delayed)
}
const endMs = Date.now() + 60_000
for (let quiet = 0; quiet < 5 && Date.now() < endMs; quiet = (await open()) === 0 ? quiet + 1 : 0) await sleep(40)
stop.abort()
await Promise.all(running)

const found = await audit(pool, schema, bags)
const dead = broker.messages('dead').length
console.log(`  orders      ${orders}: ${found.done} done, ${found.calledOff} called off, ${found.stuck} stuck`)
console.log(
  `  undone      ${found.returned} bags returned, ${found.refunded} charges refunded, after ${deadlineMs} ms or a refusal`,
)
console.log(`  repeats     ${duplicates} suppressed`)
console.log(
  `  stock       ${found.wrongStock} sagas with a bag too many or too few, the shelf is ${found.shelfOff} off`,
)
console.log(`  money       ${found.wrongMoney} customers charged wrongly`)
console.log(`  dead        ${dead}`)
const kept = isKept(found, orders) && dead === 0
console.log(kept ? 'kept: each order is done and paid, or called off and undone' : 'BROKEN: see above')

await pool.query(`drop schema ${schema} cascade`)
await Promise.all([pool.end(), claims.end(), relayPool.end()])
await close()
process.exit(kept ? 0 : 1)
