import { randomBytes, randomInt } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import pg from 'pg'
import type { Publisher } from '../../../src/core/publisher.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import { migrate } from '../../../src/stores/postgres/index.ts'
import { amqpPublisher } from '../../../src/transports/amqp/index.ts'
import { seeded } from '../../../src/transports/memory/random.ts'
import { faultProxy } from '../../../test/support/fault-proxy.ts'
import { privateActivemq, privateArtemis } from '../../../test/support/private-servers.ts'
import { up } from '../../services/manager.ts'
import { serviceNamed } from '../../services/table.ts'
import { faults, type Crew } from '../kafka/faults.ts'
import { effectsSoFar, ledgerOf, prepare } from '../kafka/ledger.ts'
import { startMember, type Member } from '../kafka/member.ts'
import { breaks, isBreakName } from './breaks.ts'
import { connectTo } from './connect.ts'
import type { WorkerSettings } from './consumer.ts'

const USAGE = `Usage: npm run chaos:amqp -- [--messages n] [--keys n] [--seed n] [--classic] [--break name]

  Three consumer processes on an ActiveMQ Artemis of the run's own, their effects in PostgreSQL. Every few seconds a
  process is killed with -9, stopped for longer than its idle time-out, told to leave, or stands still; the broker is
  killed; connections are cut. Exits with 1 where a message was lost, or had its effect twice, or out of its key's order.

  --classic   ActiveMQ Classic
  --break     plants a fault that the run must find:
${Object.entries(breaks)
  .map(([name, what]) => `                ${name.padEnd(16)} ${what}`)
  .join('\n')}`

const { values: flags } = parseArgs({
  options: {
    messages: { type: 'string', default: '20000' },
    keys: { type: 'string', default: '200' },
    seed: { type: 'string' },
    classic: { type: 'boolean', default: false },
    break: { type: 'string' },
    verbose: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
const { break: planted } = flags
if (flags.help || (planted !== undefined && !isBreakName(planted))) {
  console.log(USAGE)
  process.exit(flags.help ? 0 : 2)
}
const messages = Number(flags.messages)
const keys = Number(flags.keys)
const seed = Number(flags.seed ?? randomInt(1, 2 ** 31))
const size = 3
const pauseMs = 9000
const stalledMs = 90_000
const cutEveryMs = 6000

const random = seeded(seed)
const name = `chaos_${randomBytes(4).toString('hex')}`
const address = `chaos.${name}`
const broker = await (flags.classic ? privateActivemq() : privateArtemis())
const proxy = await faultProxy(broker.url)
const { url: postgresUrl } = await up(serviceNamed('postgres'), (line) => console.error(line))
const pool = new pg.Pool({ connectionString: postgresUrl, max: 2 })
pool.on('error', () => {})
console.log(
  `${name}: ${messages} messages over ${keys} keys, ${size} processes, seed ${seed}${planted === undefined ? '' : `, planted: ${breaks[planted]}`}`,
)

const settings: WorkerSettings = {
  ...{ url: `amqp://${proxy.address}`, address, keys, postgresUrl, schema: name },
  ...{ handlerMs: 5, concurrency: 32, window: 256, freezeMs: pauseMs, planted },
}
const members: Member[] = []
const crew: Crew = {
  members,
  start() {
    const problem = (line: string): void => {
      if (flags.verbose) console.error(`  [${member.pid}] ${line}`)
    }
    const member = startMember(settings, problem, join(import.meta.dirname, 'consumer.ts'))
    members.push(member)
    return member
  },
}

const over = new AbortController()
const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort())
let published = 0
let failed = true
try {
  await migrate(pool, { schema: name })
  await prepare(pool, name)
  // Ids that the broker knows already are dropped by Artemis; Classic knows none.
  const publisher = amqpPublisher(connectTo(broker.url, `${name}-producer`), { duplicateIds: true, timeoutMs: 5000 })
  for (let n = 0; n < size; n++) crew.start()
  const producing = produce(publisher)
  const injected = faults({ crew, size, random, ordered: true, pauseMs, restartBroker, over: over.signal })
  const cutting = cut()
  let progress = { effects: 0, atMs: Date.now() }
  for (;;) {
    await sleep(500)
    const effects = await effectsSoFar(pool, name)
    if (effects > progress.effects) progress = { effects, atMs: Date.now() }
    if (effects >= messages || interrupted.signal.aborted || Date.now() - progress.atMs > stalledMs) break
  }
  over.abort()
  const counts = await injected
  await producing
  const cuts = await cutting
  // A process that was frozen wakes up by now, and may still try to write.
  await sleep(pauseMs + 1000)
  await stopMembers()
  const { lost, doubled, outOfOrder, ...rest } = await ledgerOf(pool, name, messages)
  const duplicates = members.reduce((sum, member) => sum + member.counts.duplicates, 0)
  const delivered = members.reduce((sum, member) => sum + member.counts.delivered, 0)
  const told = { 'handler runs (about)': delivered, 'duplicates suppressed (about)': duplicates }
  const all = { ...rest, lost, doubled, outOfOrder, ...told, ...counts, cuts, seed }
  console.log(
    Object.entries(all)
      .map(([what, count]) => `  ${what.padEnd(30)} ${count}`)
      .join('\n'),
  )
  failed = lost > 0 || doubled > 0 || outOfOrder > 0
  console.log(failed ? 'BROKEN: see above' : 'kept: nothing lost, nothing doubled, every key in order')
} finally {
  over.abort()
  for (const member of members) member.signal('SIGKILL')
  await pool.query(`drop schema if exists ${name} cascade`).catch(() => {})
  await pool.end()
  await proxy.dispose()
  await broker.dispose()
}
process.exit(failed ? 1 : 0)

/** Keeps on until everything was confirmed; what was not is sent again under its id. */
async function produce(publisher: Publisher): Promise<void> {
  while (published < messages) {
    const batch = Array.from({ length: Math.min(100, messages - published) }, (_, at) => {
      const n = published + at
      const key = planted === 'no-groups' ? null : `k${n % keys}`
      return outgoing({ destination: address, id: `m${n}`, key, body: Buffer.from(String(n)) })
    })
    try {
      await publisher.publish(batch)
      published += batch.length
    } catch {
      await sleep(200)
    }
    // Stopped for good where the consumers stand still: the ledger counts what is missing.
    if (over.signal.aborted) return
    await sleep(60)
  }
}

async function restartBroker(): Promise<void> {
  await broker.kill('SIGKILL')
  await sleep(500)
  await broker.start()
}

async function cut(): Promise<number> {
  while (!over.signal.aborted) {
    await sleep(cutEveryMs * (0.5 + random()), undefined, { signal: over.signal }).catch(() => {})
    proxy.cut()
  }
  return proxy.counts.cut
}

async function stopMembers(): Promise<void> {
  const alive = members.filter((member) => member.alive)
  for (const member of alive) member.signal('SIGTERM')
  await Promise.race([Promise.all(alive.map((member) => member.exited)), sleep(15_000)])
}
