import { randomBytes, randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import kafkajs from 'kafkajs'
import pg from 'pg'
import { seeded } from '../../../src/transports/memory/random.ts'
import { up } from '../../services/manager.ts'
import { serviceNamed } from '../../services/table.ts'
import { Problems } from '../brokers/problems.ts'
import { breaks, isBreakName } from './breaks.ts'
import { privateBroker, sharedBroker } from './broker.ts'
import { faults, hadEach, kindsOf, noFaults, type Crew } from './faults.ts'
import { effectsSoFar, ledgerOf, prepare } from './ledger.ts'
import { managedClients, startMember, type Member, type MemberSettings } from './member.ts'
import { watchCommits } from './commits.ts'
import { createTopic, numbered } from './topics.ts'

const USAGE = `Usage: npm run chaos:kafka -- [--ordered [--graceful]] [--client name] [--messages n] [--keys n] [--seed n] [--minutes n] [--handler-ms n] [--break name]

  Three consumer processes on real Kafka, their effects in PostgreSQL, and kill -9 every few seconds.
  Exits with 1 where a message was lost, or had its effect twice, or out of its key's order.

  --ordered   the managed consumer: 12 partitions, and beyond kills also members that leave and join, processes that
              are stopped for longer than their session, and restarts of the broker
  --graceful  members only leave and join, and no claims remember what was done: nothing may come again at all
  --client    with --ordered: kafkajs, or @platformatic/kafka with the classic or the consumer protocol
  --minutes   goes on producing for that long, and until each kind of fault has happened
  --handler-ms  how long a handler takes on average: some hundred make a few thousand messages last through all faults
  --break     plants a fault that the run must find:
${Object.entries(breaks)
  .map(([name, what]) => `                ${name.padEnd(16)} ${what}`)
  .join('\n')}`

const { values: flags } = parseArgs({
  options: {
    ordered: { type: 'boolean', default: false },
    graceful: { type: 'boolean', default: false },
    client: { type: 'string', default: 'kafkajs' },
    messages: { type: 'string' },
    keys: { type: 'string', default: '500' },
    seed: { type: 'string' },
    minutes: { type: 'string', default: '0' },
    'handler-ms': { type: 'string' },
    break: { type: 'string' },
    verbose: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
if (flags.help) {
  console.log(USAGE)
  process.exit(0)
}
const { ordered, break: planted } = flags
if (planted !== undefined && !isBreakName(planted)) {
  console.error(`no fault is called ${planted}\n\n${USAGE}`)
  process.exit(2)
}
const client = managedClients.find((each) => each === flags.client)
if (client === undefined || (client !== 'kafkajs' && !ordered)) {
  console.error(`--client takes ${managedClients.join(', ')}; all but kafkajs need --ordered\n\n${USAGE}`)
  process.exit(2)
}
// Behind claims, work on partitions that went elsewhere is a suppressed duplicate.
const graceful = flags.graceful || planted === 'ownership-guard'
if (graceful && !ordered) {
  console.error(`--graceful and the fault ownership-guard need --ordered\n\n${USAGE}`)
  process.exit(2)
}
const messages = positive('messages', flags.messages ?? (ordered ? '50000' : '20000'))
const keys = positive('keys', flags.keys)
const seed = positive('seed', flags.seed ?? String(randomInt(1, 2 ** 31)))
const minutes = Number(flags.minutes)
const size = 3
const pauseMs = 7000
// What a plant lost never comes: there is less to wait for.
const stalledMs = planted === undefined ? 90_000 : 45_000

const random = seeded(seed)
const name = `chaos_${randomBytes(4).toString('hex')}`
const broker = ordered ? await privateBroker() : await sharedBroker()
const { url: postgresUrl } = await up(serviceNamed('postgres'), (line) => console.error(line))
const pool = new pg.Pool({ connectionString: postgresUrl, max: 2 })
pool.on('error', () => {})
const kafka = new kafkajs.Kafka({
  brokers: [...broker.brokers],
  logLevel: kafkajs.logLevel.NOTHING,
  retry: { retries: 12 },
})

console.log(
  `${name}: ${messages} messages over ${keys} keys, ${size} processes on ${client}, seed ${seed}${planted === undefined ? '' : `, planted: ${breaks[planted]}`}`,
)

const settings: MemberSettings = {
  brokers: broker.brokers,
  topic: name,
  groupId: name,
  postgresUrl,
  schema: name,
  ordered,
  graceful,
  client,
  concurrency: ordered ? 16 : 2,
  handlerMs: Number(flags['handler-ms'] ?? (ordered ? 5 : 1)),
  planted,
  freezeMs: pauseMs,
}
const members: Member[] = []
const problems = new Problems(flags.verbose)
const crew: Crew = {
  members,
  start() {
    const member = startMember(settings, (line) => problems.said(member.pid, line))
    members.push(member)
    return member
  },
}

const over = new AbortController()
const interrupted = new AbortController()
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => interrupted.abort())
let produced = 0
let failed = true
try {
  await prepare(pool, name)
  await createRunTopic()
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  await produce(producer)
  for (let n = 0; n < size; n++) crew.start()
  const commits = watchCommits(kafka, name, name, over.signal)
  const counts = noFaults()
  const injected = faults({
    crew,
    counts,
    size,
    random,
    kinds: kindsOf({ ordered, graceful }),
    pauseMs,
    restartBroker: () => broker.restart(),
    over: over.signal,
  })
  // A broker that does not start again ends the run at once.
  injected.catch(() => interrupted.abort())
  const until = Date.now() + minutes * 60_000
  let progress = { effects: 0, atMs: Date.now() }
  for (;;) {
    await sleep(500)
    // A database that has no connection left for the look has some for the work.
    const effects = await effectsSoFar(pool, name).catch(() => progress.effects)
    if (effects > progress.effects) progress = { effects, atMs: Date.now() }
    if (process.stdout.isTTY) process.stdout.write(`\r${effects} of ${produced} `)
    if (effects >= produced) {
      // A short run has met each kind of fault, however slow the machine is.
      if (Date.now() >= until && (minutes === 0 || (graceful ? counts.leaves > 0 : hadEach(counts, ordered)))) break
      await produce(producer)
    }
    if (interrupted.signal.aborted || Date.now() - progress.atMs > stalledMs) break
  }
  over.abort()
  await injected
  // Frozen processes wake up by now, and may still try to write.
  await sleep(pauseMs + 1000)
  await stopMembers()
  const backwards = await commits
  const ledger = { ...(await ledgerOf(pool, name, produced)), backwards }
  const delivered = members.reduce((sum, { counts: { delivered } }) => sum + delivered, 0)
  const duplicates = members.reduce((sum, { counts: { duplicates } }) => sum + duplicates, 0)
  await producer.disconnect()
  console.log(
    `\n${Object.entries({
      ...ledger,
      'handler runs (about)': delivered,
      'duplicates suppressed (about)': duplicates,
      ...counts,
      seed,
    })
      .map(([what, count]) => `  ${what.padEnd(30)} ${count}`)
      .join('\n')}`,
  )
  const { lost, doubled, outOfOrder } = ledger
  failed = lost > 0 || doubled > 0 || outOfOrder > 0 || backwards > 0
  console.log(
    interrupted.signal.aborted
      ? 'interrupted before the end'
      : failed
        ? 'BROKEN: see above'
        : 'kept: nothing lost, nothing doubled, every key in order',
  )
  if (failed && planted === undefined) problems.print()
} finally {
  over.abort()
  for (const member of members) member.signal('SIGKILL')
  await pool.query(`drop schema if exists ${name} cascade`).catch(() => {})
  await pool.end()
  await broker.dispose()
}
process.exit(failed ? 1 : 0)

async function createRunTopic(): Promise<void> {
  const admin = kafka.admin()
  await admin.connect()
  await createTopic(admin, name, ordered ? 12 : 6)
  await admin.disconnect()
}

async function produce(producer: kafkajs.Producer): Promise<void> {
  for (let from = 0; from < messages; from += 1000) {
    const batch = numbered(produced, Math.min(1000, messages - from), keys, random)
    produced += batch.length
    await producer.send({ topic: name, messages: batch })
  }
}

async function stopMembers(): Promise<void> {
  const alive = members.filter((member) => member.alive)
  for (const member of alive) member.signal('SIGTERM')
  await Promise.race([Promise.all(alive.map((member) => member.exited)), sleep(15_000)])
}

function positive(flag: string, text: string): number {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value > 0) return value
  console.error(`--${flag} must be a whole number above 0, got ${text}`)
  process.exit(2)
}
