import { fork, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { migrate } from 'holdfast/postgres'
import { Kafka, logLevel } from 'kafkajs'
import pg from 'pg'
import { addressOf } from '../services.ts'
import { createTopics } from '../topics.ts'
import { settings } from './settings.ts'
import { readTrace, treeOf } from './trace-tree.ts'

const { brokers, databaseUrl, schema, topic } = await settings()
const jaegerUrl = await addressOf('jaeger')
// What `npm run services` starts takes spans two ports further on.
const otlpUrl = jaegerUrl.replace(/\d+(?=\/?$)/, (port) => String(Number(port) + 2))

const pool = new pg.Pool({ connectionString: databaseUrl }).on('error', () => {})
await pool.query(`drop schema if exists ${schema} cascade`)
await migrate(pool, { schema })
const admin = new Kafka({ brokers, logLevel: logLevel.NOTHING }).admin()
await admin.connect()
await createTopics(admin, [topic, `${topic}.dead-letters`])

/** A service is a process of its own; it stops in good order when we let go of it. */
function start(service: string): ChildProcess {
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: otlpUrl, ...process.env }
  return fork(join(import.meta.dirname, `${service}.ts`), { env })
}

async function stop(service: ChildProcess): Promise<void> {
  const exited = once(service, 'exit')
  service.disconnect()
  await exited
}

const billing = start('billing')
const orders = start('orders')
const settled: string[] = []
const allSettled = new Promise<void>((resolve) => {
  billing.on('message', ({ outcome }: { outcome: string }) => {
    settled.push(outcome)
    if (settled.length === 3) resolve()
  })
})

const [{ port }] = (await once(orders, 'message')) as [{ readonly port: number }]
const run = randomUUID().slice(0, 8)
const latte = { orderId: `latte-${run}`, customer: 'ada', cents: 450 }
// An order, the same once more by mistake, and one that cannot be billed.
const body = JSON.stringify([latte, latte, { ...latte, orderId: `mocha-${run}`, cents: -1 }])
const answer = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body })
const traceId = await answer.text()
if (!answer.ok) throw new Error(traceId)
await allSettled
await Promise.all([stop(orders), stop(billing)])
await Promise.all([pool.end(), admin.disconnect()])

console.log(`billing: ${settled.join(', ')}\n`)
console.log(treeOf(await readTrace(jaegerUrl, traceId, 9)).replaceAll(`-${run}`, ''))
console.log(`\n${new URL(`/trace/${traceId}`, jaegerUrl).href}`)
