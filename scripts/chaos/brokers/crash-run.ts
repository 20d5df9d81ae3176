import { randomBytes, randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { outgoing, type Publisher } from '../../../src/core/publisher.ts'
import { migrate } from '../../../src/stores/postgres/index.ts'
import { seeded } from '../../../src/transports/memory/random.ts'
import { faultProxy, type FaultProxy } from '../../../test/support/fault-proxy.ts'
import type { PrivateServer } from '../../../test/support/private-servers.ts'
import { up } from '../../services/manager.ts'
import { serviceNamed } from '../../services/table.ts'
import { faults, kindsOf, noFaults, type Crew } from '../kafka/faults.ts'
import { effectsSoFar, ledgerOf, prepare } from '../kafka/ledger.ts'
import { startMember, type Member } from '../kafka/member.ts'
import { Problems } from './problems.ts'
import type { WorkerSettings } from './worker.ts'

/** One broker, as its crash run needs it. */
export interface CrashRun {
  /** Of `npm run`. */
  readonly script: string
  readonly broker: string
  /** What `--newest` is, where there is another server. */
  readonly newest?: string
  /** False where that server breaks the order of a key when members are lost in a row: it is counted all the same. @defaultValue true */
  readonly newestKeepsOrder?: boolean
  readonly breaks: Readonly<Record<string, string>>
  /** The file of a consumer process. */
  readonly program: string
  start(newest: boolean): Promise<PrivateServer>
  /** Declares what the run needs, named `name`. The publisher does not go through the proxy. */
  prepare(url: string, name: string, planted: string | undefined): Promise<Prepared>
  /** The address of the server that is reached through this proxy. */
  through(proxy: FaultProxy): string
}

export interface Prepared {
  readonly publisher: Publisher
  /** For the consumer processes, beyond what all of them get. */
  readonly settings: Readonly<Record<string, unknown>>
  close(): Promise<void>
}

interface Flags {
  readonly messages: number
  readonly keys: number
  readonly seed: number
  readonly handlerMs: number
  readonly newest: boolean
  readonly planted: string | undefined
  readonly verbose: boolean
}

const size = 3
const pauseMs = 7000
const stalledMs = 90_000
// What a plant lost never comes: there is less to wait for. What a broker gives again by itself comes within 30 s.
const plantedStalledMs = 45_000
const cutEveryMs = 6000

/** Three consumer processes under faults, to the last message. Resolves with the exit code. */
export async function crashRun(run: CrashRun): Promise<number> {
  const flags = flagsOf(run)
  if (typeof flags === 'number') return flags
  const { messages, keys, seed, planted } = flags
  const name = `chaos_${randomBytes(4).toString('hex')}`
  const server = await run.start(flags.newest)
  const proxy = await faultProxy(server.url)
  const { url: postgresUrl } = await up(serviceNamed('postgres'), (line) => console.error(line))
  const pool = new pg.Pool({ connectionString: postgresUrl, max: 2 })
  pool.on('error', () => {})
  const wrong = planted === undefined ? '' : `, planted: ${run.breaks[planted]}`
  console.log(`${name}: ${messages} messages over ${keys} keys, ${size} processes, seed ${seed}${wrong}`)
  const members: Member[] = []
  try {
    await migrate(pool, { schema: name })
    await prepare(pool, name)
    const prepared = await run.prepare(server.url, name, planted)
    const settings: WorkerSettings = {
      ...{ url: run.through(proxy), group: name, postgresUrl, schema: name, planted },
      ...{ handlerMs: flags.handlerMs, concurrency: 22, freezeMs: pauseMs, ...prepared.settings },
    }
    const problems = new Problems(flags.verbose)
    const crew: Crew = {
      members,
      start() {
        const member = startMember(settings, (line) => problems.said(member.pid, line), run.program)
        members.push(member)
        return member
      },
    }
    const keepsOrder = !flags.newest || (run.newestKeepsOrder ?? true)
    const code = await toTheEnd({ flags, name, pool, crew, server, proxy, prepared, keepsOrder })
    if (code !== 0 && planted === undefined) problems.print()
    return code
  } finally {
    for (const member of members) member.signal('SIGKILL')
    await pool.query(`drop schema if exists ${name} cascade`).catch(() => {})
    await pool.end()
    await proxy.dispose()
    await server.dispose()
  }
}

interface Running {
  readonly flags: Flags
  readonly name: string
  readonly pool: pg.Pool
  readonly crew: Crew
  readonly server: PrivateServer
  readonly proxy: FaultProxy
  readonly prepared: Prepared
  readonly keepsOrder: boolean
}

async function toTheEnd(running: Running): Promise<number> {
  const { flags, name, pool, crew, server, proxy, prepared, keepsOrder } = running
  const { messages, seed, planted } = flags
  const patienceMs = planted === undefined ? stalledMs : plantedStalledMs
  const random = seeded(seed)
  const over = new AbortController()
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort())
  async function restartBroker(): Promise<void> {
    await server.kill('SIGKILL')
    await sleep(500)
    await server.start()
  }
  for (let n = 0; n < size; n++) crew.start()
  const producing = produce(prepared.publisher, name, flags, over.signal)
  const counts = noFaults()
  const kinds = kindsOf({ ordered: true, graceful: false })
  const injected = faults({ crew, counts, size, random, kinds, pauseMs, restartBroker, over: over.signal })
  // A broker that does not start again ends the run at once.
  injected.catch(() => interrupted.abort())
  const cutting = cut(proxy, random, over.signal)
  let progress = { effects: 0, atMs: Date.now() }
  for (;;) {
    await sleep(500)
    // A database that has no connection left for the look has some for the work.
    const effects = await effectsSoFar(pool, name).catch(() => progress.effects)
    if (effects > progress.effects) progress = { effects, atMs: Date.now() }
    if (effects >= messages || interrupted.signal.aborted || Date.now() - progress.atMs > patienceMs) break
  }
  over.abort()
  await injected
  await producing
  const cuts = await cutting
  // A process that was frozen wakes up by now, and may still try to write.
  await sleep(pauseMs + 1000)
  await stop(crew.members)
  await Promise.race([prepared.close().catch(() => {}), sleep(1000)])
  const { lost, doubled, outOfOrder, ...rest } = await ledgerOf(pool, name, messages)
  const duplicates = crew.members.reduce((sum, member) => sum + member.counts.duplicates, 0)
  const delivered = crew.members.reduce((sum, member) => sum + member.counts.delivered, 0)
  const told = { 'handler runs (about)': delivered, 'duplicates suppressed (about)': duplicates }
  print({ ...rest, lost, doubled, outOfOrder, ...told, ...counts, cuts, seed })
  const failed = lost > 0 || doubled > 0 || (keepsOrder && outOfOrder > 0)
  const kept = `kept: nothing lost, nothing doubled, ${keepsOrder ? 'every key in order' : 'no order promised'}`
  console.log(failed ? 'BROKEN: see above' : kept)
  return failed ? 1 : 0
}

/** Keeps on until everything was confirmed; what was not is sent again under its id. */
async function produce(publisher: Publisher, name: string, flags: Flags, over: AbortSignal): Promise<void> {
  const { messages, keys } = flags
  let published = 0
  while (published < messages) {
    const batch = Array.from({ length: Math.min(100, messages - published) }, (_, at) => {
      const n = published + at
      return outgoing({ destination: name, id: `m${n}`, key: `k${n % keys}`, body: Buffer.from(String(n)) })
    })
    try {
      await publisher.publish(batch)
      published += batch.length
    } catch (error) {
      if (flags.verbose) console.error(`  not published: ${String(error)}`)
      await sleep(200)
    }
    // Stopped for good where the consumers stand still: the ledger counts what is missing.
    if (over.aborted) return
    await sleep(100)
  }
}

async function cut(proxy: FaultProxy, random: () => number, over: AbortSignal): Promise<number> {
  while (!over.aborted) {
    await sleep(cutEveryMs * (0.5 + random()), undefined, { signal: over }).catch(() => {})
    proxy.cut()
  }
  // Each connection has two sockets.
  return Math.round(proxy.counts.cut)
}

async function stop(members: readonly Member[]): Promise<void> {
  const alive = members.filter((member) => member.alive)
  for (const member of alive) member.signal('SIGTERM')
  await Promise.race([Promise.all(alive.map((member) => member.exited)), sleep(15_000)])
}

function print(figures: Readonly<Record<string, number>>): void {
  for (const [what, count] of Object.entries(figures)) console.log(`  ${what.padEnd(30)} ${count}`)
}

/** The flags, or the exit code where there is nothing to run. */
function flagsOf({ script, broker, newest, breaks }: CrashRun): Flags | number {
  const { values: flags } = parseArgs({
    options: {
      messages: { type: 'string', default: '20000' },
      keys: { type: 'string', default: '200' },
      seed: { type: 'string' },
      'handler-ms': { type: 'string', default: '5' },
      newest: { type: 'boolean', default: false },
      break: { type: 'string' },
      verbose: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  const { break: planted, verbose } = flags
  const hasNewest = newest !== undefined
  if (flags.help || (flags.newest && !hasNewest) || (planted !== undefined && !Object.hasOwn(breaks, planted))) {
    const another = hasNewest ? ' [--newest]' : ''
    console.log(`Usage: npm run ${script} -- [--messages n] [--keys n] [--seed n] [--handler-ms n]${another} [--break name]

  Three consumer processes on a ${broker} of the run's own, their effects in PostgreSQL. Every few seconds a process is
  killed with -9, stopped for longer than its heartbeat and its lease, told to leave, or stands still; the broker is
  killed; connections are cut. Exits with 1 where a message was lost, or had its effect twice, or out of its key's order.

  --handler-ms  how long a handler takes on average: some hundred make a few thousand messages last through all faults
${hasNewest ? `  --newest    ${newest}\n` : ''}  --break     plants a fault that the run must find:
${Object.entries(breaks)
  .map(([name, what]) => `                ${name.padEnd(16)} ${what}`)
  .join('\n')}`)
    return flags.help ? 0 : 2
  }
  const [messages, keys] = [Number(flags.messages), Number(flags.keys)]
  const seed = Number(flags.seed ?? randomInt(1, 2 ** 31))
  return { messages, keys, seed, handlerMs: Number(flags['handler-ms']), newest: flags.newest, planted, verbose }
}
