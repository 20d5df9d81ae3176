import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { migrate } from '../../../src/stores/postgres/index.ts'
import { brokerAt } from './broker.ts'
import { Crew } from './crew.ts'
import type { Database } from './database.ts'
import { operate, type Acts } from './operator.ts'
import type { Address, Settings } from './settings.ts'
import { Source } from './source.ts'

export interface Outcome {
  readonly messages: number
  readonly lost: number
  readonly doubled: number
  readonly outOfOrder: number
  /** Messages that died and have an effect too. */
  readonly both: number
  readonly dead: number
  readonly deadMeant: number
  /** Messages that an operator was to send again, and that have no effect. */
  readonly notMended: number
  readonly acts: Readonly<Acts>
  readonly byWorker: number
  readonly peakParked: number
  readonly leftParked: number
  readonly injected: Readonly<Record<string, number>>
  readonly tookMs: number
  /** From the start to the last effect of the keys that never fail, and how many of those there were. */
  readonly healthy: { readonly effects: number; readonly tookMs: number }
  readonly counts: Readonly<Record<string, number>>
}

// A busy machine takes its time to start the first process.
const stalledMs = 90_000
const joinedMs = 12_000

export interface Places {
  readonly database: Database
  readonly address: Address
  readonly say: (line: string) => void
}

/** One run: producers, consumers, workers, faults, and what came of every message. */
export async function runLedger(settings: Settings, { database, address, say }: Places): Promise<Outcome> {
  const name = `parking_${randomBytes(4).toString('hex')}`
  const pool = new pg.Pool({ connectionString: database.url, max: 3 })
  pool.on('error', () => {})
  const crew = new Crew({ ...settings, name, postgres: database.url, address })
  const over = new AbortController()
  const broker = await brokerAt(address, name)
  try {
    await prepare(pool, name, settings)
    const source = new Source(settings)
    crew.startAll(settings)
    // Where throughput is compared, the processes are in their group before the first message comes.
    if (settings.spreadMs === 0) await sleep(joinedMs)
    const startedMs = Date.now()
    const producing = source.sendTo(broker)
    const acts: Acts = { unblocked: 0, dropped: 0 }
    const progress = { settled: 0 }
    const beside = [
      producing,
      settings.faults ? crew.trouble(() => progress.settled > 0) : Promise.resolve(),
      settings.whenDead === 'block-key' ? operate(pool, name, source, over.signal, acts) : Promise.resolve(),
      strike(
        database,
        () => progress.settled / settings.messages,
        over.signal,
        (what) => {
          crew.injected[what] = (crew.injected[what] ?? 0) + 1
          say(`${what} at ${progress.settled} of ${settings.messages}`)
        },
      ),
    ]
    const { tookMs, peakParked } = await untilDone(pool, name, settings, startedMs, say, progress)
    crew.calmDown()
    over.abort()
    await Promise.all(beside)
    // A process that was paused wakes up, and must change nothing any more.
    if (settings.faults) await sleep(10_000)
    await crew.end()
    const account = await accountOf(pool, name, settings, source, startedMs)
    return { ...account, tookMs, peakParked, acts, injected: crew.injected, counts: crew.counts() }
  } finally {
    over.abort()
    await crew.end()
    await pool.query(`drop schema if exists ${name} cascade`).catch(() => {})
    await Promise.allSettled([broker.dispose(), pool.end()])
  }
}

async function prepare(pool: pg.Pool, name: string, { broken }: Settings): Promise<void> {
  await migrate(pool, { schema: name })
  await pool.query(`create table ${name}.effect (seq bigserial, id text, key text, n int, by text, at timestamptz default clock_timestamp());
create index on ${name}.effect (id); create table ${name}.dead (id text, by text)`)
  if (broken === 'append-apart') await pool.query(`alter table ${name}.parked drop constraint parked_in_lane`)
}

/** By progress rather than by time, so that each one falls into the load. */
async function strike(
  { troubles }: Database,
  share: () => number,
  over: AbortSignal,
  tell: (what: string) => void,
): Promise<void> {
  for (const [n, { name, strike: happens }] of troubles.entries()) {
    while (share() < (n + 0.5) / troubles.length && !over.aborted) await sleep(100)
    if (over.aborted) return
    tell(name)
    await happens()
  }
}

async function untilDone(
  pool: pg.Pool,
  name: string,
  { messages, maxMs }: Settings,
  startedMs: number,
  say: (line: string) => void,
  progress: { settled: number },
) {
  let [knownAtMs, peakParked] = [Date.now(), 0]
  for (let second = 1; ; second++) {
    await sleep(1_000)
    const now = await stateOf(pool, name).catch(() => undefined)
    if (now !== undefined) {
      peakParked = Math.max(peakParked, now.parked)
      if (second % 10 === 0)
        say(`${second} s: ${now.settled} handled or dead, ${now.parked} parked in ${now.lanes} lanes`)
      if (now.settled > progress.settled) [progress.settled, knownAtMs] = [now.settled, Date.now()]
      if (now.settled >= messages && now.lanes === 0) break
    }
    if (Date.now() - knownAtMs > stalledMs || Date.now() - startedMs > maxMs) {
      say(`it came to a stand: ${JSON.stringify(now)}`)
      break
    }
  }
  return { tookMs: Date.now() - startedMs, peakParked }
}

async function stateOf(pool: pg.Pool, name: string) {
  const { rows } = await pool.query<{ settled: number; lanes: number; parked: number }>(
    `select (select count(*) from (select id from ${name}.effect union select id from ${name}.dead) as ids)::int as settled,
  (select count(*) from ${name}.parked_lane)::int as lanes, (select count(*) from ${name}.parked)::int as parked`,
  )
  return rows[0]
}

async function accountOf(
  pool: pg.Pool,
  name: string,
  { messages, keys, bad }: Settings,
  source: Source,
  startedMs: number,
) {
  const { rows } = await pool.query<Record<string, number>>(
    `with times as (select id, count(*) as n from ${name}.effect group by id),
firsts as (select min(seq) as seq, key, n from ${name}.effect group by key, n),
ordered as (select n, max(n) over (partition by key order by seq rows between unbounded preceding and 1 preceding) as before from firsts),
healthy as (select * from ${name}.effect where substr(key, 2)::int >= $1)
select (select count(*) from times)::int as known, (select coalesce(sum(n - 1), 0) from times)::int as doubled,
  (select count(*) from ordered where before > n)::int as disordered,
  (select count(distinct id) from ${name}.dead)::int as dead,
  (select count(*) from ${name}.effect where by = 'worker')::int as by_worker,
  (select count(distinct id) from ${name}.dead join ${name}.effect using (id))::int as handled_and_dead,
  (select count(distinct id) from ${name}.dead join ${name}.effect using (id) where id <> all($2::text[]))::int as both,
  (select count(*) from unnest($2::text[]) as mended (id) where not exists (select from ${name}.effect as e where e.id = mended.id))::int as not_mended,
  (select count(*) from ${name}.parked)::int as left_parked,
  (select count(*) from healthy)::int as healthy,
  coalesce((select extract(epoch from max(at)) * 1000 from healthy), 0)::float8 as healthy_at`,
    [Math.ceil(keys * bad), source.idsOf('mended')],
  )
  const row = rows[0] ?? {}
  const of = (column: string): number => row[column] ?? Number.NaN
  return {
    messages,
    lost: messages - of('known') - of('dead') + of('handled_and_dead'),
    doubled: of('doubled'),
    outOfOrder: of('disordered'),
    both: of('both'),
    dead: of('dead'),
    deadMeant: source.fates.filter((fate) => fate === 'dead' || fate === 'mended').length,
    notMended: of('not_mended'),
    byWorker: of('by_worker'),
    leftParked: of('left_parked'),
    healthy: { effects: of('healthy'), tookMs: of('healthy_at') - startedMs },
  }
}
