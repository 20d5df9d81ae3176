import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { migrate } from '../../../src/stores/postgres/migrate.ts'
import { seeded } from '../../../src/transports/memory/random.ts'
import { servicesDir } from '../../services/paths.ts'
import { freePorts } from '../../services/ports.ts'
import { postgresHome, startPostgres, type Flavour } from '../../services/postgres.ts'
import { stop } from '../../services/processes.ts'
import type { RelaySettings } from './settings.ts'
import { kafkaTarget, socketTarget } from './target.ts'
import { endPrepared, writer, type WriterCounts } from './writers.ts'

export interface ChaosOptions {
  /** How many messages to commit, at least. */
  readonly messages: number
  readonly seed: number
  readonly planted?: string | undefined
  /** `null`: this process is the broker. */
  readonly brokers: readonly string[] | null
  readonly relays?: number
  readonly writers?: number
  readonly killEveryMs?: number
  readonly restarts?: boolean
  /** Only these faults, by the dice; without it a mix of kills, pauses and, where `restarts`, restarts. */
  readonly only?: readonly ChaosFault[]
  /** The writers go on until there were so many. @defaultValue 0 */
  readonly leastFaults?: number
  /** What `outage` does: the broker is away until it resolves. */
  readonly outage?: () => Promise<void>
  /** How many of the transactions are repeatable read. @defaultValue 0.2 */
  readonly repeatableShare?: number
  /** The address that relays are given, where it is not the server's own. */
  readonly via?: (url: string) => Promise<string>
  readonly flavour?: Flavour | undefined
  readonly say: (line: string) => void
  /** Ends it early. */
  readonly signal?: AbortSignal
}

export type ChaosFault = 'kill' | 'kill-all' | 'pause' | 'restart' | 'outage'

export interface ChaosLedger {
  readonly committed: number
  readonly lost: number
  /** Published though their transaction did not commit. */
  readonly phantom: number
  /** First deliveries that came after one of the same key with a higher number. */
  readonly outOfOrder: number
  readonly duplicates: number
  /** Repeats that came after a later message of their key: what `sequence()` is for. */
  readonly stale: number
  readonly counts: Readonly<Record<string, number>>
  /** The longest time from the end of a fault to the next arrival. */
  readonly recoveryMs: number
  /** Messages that were given up as poison. */
  readonly dead: number
}

const leaseMs = 1500

/** Writers of every kind, relays that are killed and paused, a server that restarts, partitions that turn every second. */
export async function chaos({
  messages,
  seed,
  planted,
  brokers,
  relays: size = 3,
  writers = 16,
  killEveryMs = 5000,
  restarts = true,
  only,
  leastFaults = 0,
  outage = () => Promise.resolve(),
  repeatableShare = 0.2,
  via = (url) => Promise.resolve(url),
  flavour,
  say,
  signal,
}: ChaosOptions): Promise<ChaosLedger> {
  const random = seeded(seed)
  const schema = `chaos_${randomBytes(4).toString('hex')}`
  const dir = join(servicesDir, 'private', schema)
  await mkdir(dir, { recursive: true })
  const settings = ['fsync=off', 'max_connections=120', 'max_prepared_transactions=40']
  const place = { dir, port: await freePorts(1), progress: say, flavour, settings }
  let server = await startPostgres(place)
  const pool = new pg.Pool({ connectionString: server.url, max: 4 })
  pool.on('error', () => {})
  const target = brokers === null ? await socketTarget() : await kafkaTarget(brokers, schema)
  const keys = 400
  const counts = {
    kills: 0,
    pauses: 0,
    restarts: 0,
    outages: 0,
    claims: 0,
    leasesLost: 0,
    storeFailures: 0,
    cleaned: 0,
    blocked: 0,
  }
  const written: WriterCounts = { transactions: 0, rolledBack: 0, prepared: 0, repeatable: 0, long: 0, failed: 0 }
  const children: { readonly process: ChildProcess; last: Record<string, number> }[] = []
  const over = new AbortController()
  let recoveryMs = 0

  try {
    await migrate(pool, { schema })
    await pool.query(`
      create table ${schema}.elsewhere (n int);
      create table ${schema}.counter (key int primary key, n int not null);
      insert into ${schema}.counter select n, 0 from generate_series(0, ${keys - 1}) n;
      create table ${schema}.truth (id text not null);
      create table ${schema}.cursor (shard int primary key, at bigint not null);
      insert into ${schema}.cursor select shard, 0 from ${schema}.outbox_shard;
      alter table ${schema}.outbox alter column slot set default ${schema}.outbox_slot();
      create or replace function ${schema}.outbox_slot() returns smallint language sql stable as
        'select (date_part(''epoch'', now())::bigint % 3)::smallint'`)

    const relaySettings: RelaySettings = {
      ...{ postgresUrl: await via(server.url), schema, brokers: target.brokers, port: target.port, planted },
      ...{ leaseMs, batchRows: 50, slowMs: 8 },
    }
    const start = (): void => {
      const process_ = spawn(
        process.execPath,
        ['--disable-warning=TimeoutNegativeWarning', join(import.meta.dirname, 'relay-process.ts')],
        { env: { ...process.env, CHAOS_RELAY: JSON.stringify(relaySettings) }, stdio: ['ignore', 'pipe', 'inherit'] },
      )
      const child = { process: process_, last: {} }
      createInterface(process_.stdout).on('line', (line) => {
        child.last = JSON.parse(line) as Record<string, number>
      })
      children.push(child)
    }
    const alive = () => children.filter((child) => child.process.exitCode === null && child.process.signalCode === null)
    for (let n = 0; n < size; n++) start()

    const committed = async (): Promise<number> => {
      const { rows } = await pool.query<{ n: string }>(`select count(*) n from ${schema}.truth`)
      return Number(rows[0]?.n)
    }
    const writing = Array.from({ length: writers }, () =>
      writer({
        url: server.url,
        repeatableShare,
        schema,
        topic: schema,
        keys,
        random,
        until: () => over.signal.aborted,
        counts: written,
      }),
    )

    const pick = () => {
      const victims = alive()
      return victims[Math.floor(random() * victims.length)]
    }
    async function kill(victims: readonly (typeof children)[number][]): Promise<void> {
      for (const { process: victim } of victims) {
        counts.kills++
        victim.kill('SIGKILL')
      }
      await sleep(random() * 1000)
      for (const _ of victims) start()
    }
    const faults: Readonly<Record<ChaosFault, () => Promise<void>>> = {
      kill: () => kill([pick()].filter((victim) => victim !== undefined)),
      'kill-all': () => kill(alive()),
      async pause() {
        const victim = pick()
        if (victim === undefined) return
        counts.pauses++
        victim.process.kill('SIGSTOP')
        await sleep(leaseMs * (1.2 + random()))
        victim.process.kill('SIGCONT')
      },
      async restart() {
        counts.restarts++
        const hard = random() < 0.5
        await Promise.all(server.processes.map((each) => stop(each, hard ? 'SIGQUIT' : 'SIGINT')))
        server = await startPostgres(place)
        await endPrepared(pool, schema).catch(() => {})
      },
      async outage() {
        counts.outages++
        await outage()
      },
    }
    let mix: ChaosFault[] = []
    function choose(): ChaosFault {
      if (only !== undefined) return only[Math.floor(random() * only.length)] ?? 'kill'
      // Every five have each kind among them.
      if (mix.length === 0) mix = ['kill', 'kill', 'pause', 'pause', restarts ? 'restart' : 'kill']
      return mix.splice(Math.floor(random() * mix.length), 1)[0] ?? 'kill'
    }
    let done = 0
    async function hurt(): Promise<void> {
      if (only?.length === 0) return
      while (target.arrived().length === 0 && !over.signal.aborted) await sleep(10)
      for (;;) {
        await sleep(killEveryMs * (0.5 + random()), undefined, { signal: over.signal }).catch(() => {})
        if (over.signal.aborted) return
        const fault = choose()
        say(fault)
        await faults[fault]()
        done++
        const before = target.arrived().length
        const endedMs = performance.now()
        // Once writers have stopped there may be nothing to come, but for what waits behind an outage.
        const waits = () => !over.signal.aborted || fault === 'outage'
        while (target.arrived().length === before && waits() && performance.now() - endedMs < 60_000) await sleep(2)
        if (target.arrived().length > before) recoveryMs = Math.max(recoveryMs, performance.now() - endedMs)
      }
    }
    const hurting = hurt()

    for (let last = 0; ;) {
      await sleep(500)
      const n = await committed().catch(() => last)
      if (n >= last + 10_000) say(`${(last = n)} committed, ${new Set(target.arrived()).size} arrived`)
      if ((n >= messages && done >= leastFaults) || signal?.aborted === true) break
    }
    over.abort()
    await Promise.all([...writing, hurting])
    await endPrepared(pool, schema)
    for (const child of alive()) child.process.kill('SIGCONT')

    const { rows } = await pool.query<{ id: string }>(`select id from ${schema}.truth`)
    const truth = new Set(rows.map(({ id }) => id))
    // What does not arrive while nothing arrives any more is lost.
    for (let seen = -1, quiet = 0; quiet < 16; quiet++) {
      const now = new Set(target.arrived()).size
      if (now >= truth.size) break
      if (now !== seen) quiet = 0
      seen = now
      await sleep(500)
    }
    // Paused relays may still try to publish.
    await sleep(leaseMs)
    for (const { last } of children) {
      counts.claims += last['claimed'] ?? 0
      counts.leasesLost += last['lost'] ?? 0
      counts.storeFailures += last['failed'] ?? 0
      counts.cleaned += last['cleaned'] ?? 0
      counts.blocked += last['blocked'] ?? 0
    }
    const { rows: given } = await pool.query<{ n: string }>(`select count(*) n from ${schema}.outbox_dead`)
    const dead = Number(given[0]?.n)
    return { ...judged(truth, target.arrived()), counts: { ...written, ...counts }, recoveryMs, dead }
  } finally {
    over.abort()
    for (const { process: child } of children) child.kill('SIGKILL')
    await target.close()
    await pool.end()
    await Promise.all(server.processes.map((each) => stop(each, 'SIGQUIT')))
    await rm(postgresHome(dir), { recursive: true, force: true })
    await rm(dir, { recursive: true, force: true })
  }
}

/** Compares what arrived with what was committed. */
export function judged(
  truth: ReadonlySet<string>,
  arrived: readonly string[],
): Omit<ChaosLedger, 'counts' | 'recoveryMs' | 'dead'> {
  const first = new Set<string>()
  const highest = new Map<string, number>()
  let outOfOrder = 0
  let stale = 0
  for (const id of arrived) {
    const [key = '', text] = id.split(':')
    const n = Number(text)
    const before = highest.get(key) ?? 0
    if (first.has(id)) {
      if (n < before) stale++
      continue
    }
    first.add(id)
    if (n < before) outOfOrder++
    else highest.set(key, n)
  }
  return {
    committed: truth.size,
    lost: [...truth].filter((id) => !first.has(id)).length,
    phantom: [...first].filter((id) => !truth.has(id)).length,
    ...{ outOfOrder, duplicates: arrived.length - first.size, stale },
  }
}
