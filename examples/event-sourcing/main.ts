import { setTimeout as sleep } from 'node:timers/promises'
import { outgoing, subscribe } from 'holdfast'
import { memoryBroker, memoryConsumer } from 'holdfast/memory'
import { outboxRelay } from 'holdfast/outbox'
import { migrate, postgresOutboxStore } from 'holdfast/postgres'
import pg from 'pg'
import { database } from '../postgres-outbox/database.ts'
import { withoutFrom } from '../without.ts'
import { audit, isKept } from './audit.ts'
import type { Command } from './card.ts'
import { cards, eventsTopic, takings, type Ground } from './cards.ts'
import { eventTables } from './event-store.ts'

const without = withoutFrom(process.argv.slice(2), ['claims', 'versions'])
const { url, close } = await database(process.env['HOLDFAST_POSTGRES_URL'] ?? null)
const schema = `event_sourcing_${Date.now().toString(36)}`
const [pool, claims, relayPool] = [24, 4, 3].map((max) => new pg.Pool({ connectionString: url, max })) as [
  pg.Pool,
  pg.Pool,
  pg.Pool,
]
for (const each of [pool, claims, relayPool]) each.on('error', () => {})
await migrate(pool, { schema })
await pool.query(eventTables(schema, { checked: !without.has('versions') }))

let [duplicates, changed] = [0, 0]
subscribe('settled', ({ outcome }) => void (outcome === 'duplicate' && duplicates++))
subscribe('nacked', () => void changed++)

const broker = memoryBroker({ seed: 11, partitions: 8, faults: { duplicates: 0.25 } })
const wire = broker.publisher()
const ground: Ground = { schema, pool, claims, deadLetters: wire, claimed: !without.has('claims') }
const outboxStore = postgresOutboxStore(relayPool, { schema })
const stop = new AbortController()
const consume = (groupId: string, topic: string, pipeline: ReturnType<typeof cards>) =>
  memoryConsumer({ broker, groupId, topics: [topic], pipeline, concurrency: 12, redeliverMs: 20 }).run(stop.signal)
const running = [
  consume('cards', 'commands', cards(ground)),
  consume('takings', eventsTopic, takings(ground)),
  outboxRelay({ store: outboxStore, publisher: wire }).run(stop.signal),
]

/** Several tills send commands for one card at once: no key keeps them in order. */
const send = (commands: readonly Command[], from: number) =>
  wire.publish(
    commands.map((command, n) =>
      outgoing({ destination: 'commands', id: `command-${from + n}`, body: Buffer.from(JSON.stringify(command)) }),
    ),
  )

const names = Array.from({ length: 20 }, (_, n) => `card-${n + 1}`)
const topUps = names.map((card): Command => ({ card, does: 'top-up', cents: 1000 }))
// Fourteen at once for each card, and ten of them can be paid.
const payments = names.flatMap((card) => Array.from({ length: 14 }, (): Command => ({ card, does: 'pay', cents: 100 })))
await send(topUps, 1)
await untilQuiet()
await send(payments, topUps.length + 1)

/** Nothing waits in the broker or the outbox, for longer than a repeat takes to come. */
async function untilQuiet(): Promise<void> {
  const endMs = Date.now() + 60_000
  for (let quiet = 0; quiet < 5 && Date.now() < endMs;) {
    await sleep(30)
    const lag = broker.lag('cards', 'commands') + broker.lag('takings', eventsTopic)
    quiet = lag + (await outboxStore.status()).pending === 0 ? quiet + 1 : 0
  }
}

const commands = topUps.length + payments.length
await untilQuiet()
stop.abort()
await Promise.all(running)

const found = await audit(pool, schema)
console.log(`  commands        ${commands}; ${duplicates} repeats suppressed, ${changed} times somebody else was first`)
console.log(`  events          ${found.events}: ${found.paid} paid, ${found.refused} refused`)
console.log(`  streams         ${found.broken} of ${names.length} with gaps or a version twice`)
console.log(`  cards           ${found.overdrawn} overdrawn`)
console.log(`  read model      ${found.wrongViews} cards differ from their events`)
console.log(`  takings         ${found.takingsOff} payments off; ${broker.messages('dead').length} dead letters`)
const kept = isKept(found, commands) && broker.messages('dead').length === 0
console.log(
  kept ? 'kept: every command is one event, and both read models are what the events say' : 'BROKEN: see above',
)

await pool.query(`drop schema ${schema} cascade`)
await Promise.all([pool.end(), claims.end(), relayPool.end()])
await close()
process.exit(kept ? 0 : 1)
