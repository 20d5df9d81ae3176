import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import kafkajs from 'kafkajs'
import pg from 'pg'
import { migrate } from '../../../src/stores/postgres/index.ts'
import { Crew, dice } from './crew.ts'
import type { Settings } from './settings.ts'

export interface Outcome {
  readonly messages: number
  readonly lost: number
  readonly doubled: number
  readonly outOfOrder: number
  /** Messages that died and have an effect too. */
  readonly both: number
  readonly dead: number
  readonly deadMeant: number
  readonly byWorker: number
  readonly peakParked: number
  readonly leftParked: number
  readonly injected: Readonly<Record<string, number>>
  readonly tookMs: number
  /** From the start to the last effect of the keys that never fail, and how many of those there were. */
  readonly healthy: { readonly effects: number; readonly tookMs: number }
  readonly counts: Readonly<Record<string, number>>
}

type Fate = 'ok' | 'flaky' | 'dead'

/** One run: producers, consumers, workers, faults, and what came of every message. */
export async function runLedger(
  settings: Settings,
  {
    postgres,
    brokers,
    say,
  }: { readonly postgres: string; readonly brokers: readonly string[]; readonly say: (line: string) => void },
): Promise<Outcome> {
  const name = `parking_${randomBytes(4).toString('hex')}`
  const pool = new pg.Pool({ connectionString: postgres, max: 3 })
  pool.on('error', () => {})
  const kafka = new kafkajs.Kafka({ brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING, retry: { retries: 12 } })
  const admin = kafka.admin()
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  const crew = new Crew({ ...settings, name, postgres, brokers })
  try {
    await migrate(pool, { schema: name })
    await pool.query(`create table ${name}.effect (seq bigserial, id text, key text, n int, by text, at timestamptz default clock_timestamp());
create index on ${name}.effect (id); create table ${name}.dead (id text, by text)`)
    if (settings.broken === 'append-apart')
      await pool.query(`alter table ${name}.parked drop constraint parked_in_lane`)
    await admin.connect()
    await admin.createTopics({ topics: [{ topic: name, numPartitions: 12 }], waitForLeaders: true })
    await producer.connect()
    const source = new Source(settings)
    if (settings.spreadMs === 0) await source.sendTo(producer, name)
    const startedMs = Date.now()
    crew.startAll(settings)
    const producing = settings.spreadMs === 0 ? Promise.resolve() : source.sendTo(producer, name)
    const troubled = settings.faults ? crew.trouble() : Promise.resolve()
    const { tookMs, peakParked } = await untilDone(pool, name, settings, startedMs, say)
    crew.calmDown()
    await Promise.all([producing, troubled])
    // A process that was paused wakes up, and must change nothing any more.
    if (settings.faults) await sleep(10_000)
    await crew.end()
    const { injected } = crew
    return {
      ...(await accountOf(pool, name, settings, source, startedMs)),
      tookMs,
      peakParked,
      injected,
      counts: crew.counts(),
    }
  } finally {
    await crew.end()
    await pool.query(`drop schema if exists ${name} cascade`).catch(() => {})
    await admin.deleteTopics({ topics: [name] }).catch(() => {})
    await Promise.allSettled([admin.disconnect(), producer.disconnect(), pool.end()])
  }
}

/** What is sent, and what fate each message has. */
class Source {
  readonly fates: Fate[] = []
  readonly #settings: Settings
  readonly #random: () => number

  constructor(settings: Settings) {
    this.#settings = settings
    this.#random = dice(settings.seed)
  }

  async sendTo(producer: kafkajs.Producer, topic: string): Promise<void> {
    const { messages, spreadMs } = this.#settings
    const tickMs = 200
    const step = spreadMs === 0 ? 1_000 : Math.max(1, Math.round((messages / spreadMs) * tickMs))
    while (this.fates.length < messages) {
      const nowMs = Date.now()
      const many = Math.min(step, messages - this.fates.length)
      await producer.send({ topic, messages: Array.from({ length: many }, () => this.#next(nowMs)) })
      if (spreadMs > 0) await sleep(Math.max(0, tickMs - (Date.now() - nowMs)))
    }
  }

  #next(nowMs: number): kafkajs.Message {
    const { keys, bad, dead, flaky, failMs } = this.#settings
    const n = this.fates.length
    const key = Math.floor(this.#random() * keys)
    const chance = this.#random()
    const mayFail = key < keys * bad
    const fate = mayFail && chance < dead ? 'dead' : mayFail && chance < dead + flaky ? 'flaky' : 'ok'
    this.fates.push(fate)
    return { key: `k${key}`, value: `${n},${fate},${nowMs + failMs}`, headers: { 'message-id': `m${n}` } }
  }
}

async function untilDone(
  pool: pg.Pool,
  name: string,
  { messages, maxMs }: Settings,
  startedMs: number,
  say: (line: string) => void,
) {
  let [known, knownAtMs, peakParked] = [0, Date.now(), 0]
  for (let second = 1; ; second++) {
    await sleep(1_000)
    const { rows } = await pool.query<{ effects: number; dead: number; lanes: number; parked: number }>(
      `select (select count(distinct id) from ${name}.effect)::int as effects, (select count(distinct id) from ${name}.dead)::int as dead,
  (select count(*) from ${name}.parked_lane where next_at < 'infinity')::int as lanes, (select count(*) from ${name}.parked)::int as parked`,
    )
    const now = rows[0] ?? { effects: 0, dead: 0, lanes: 0, parked: 0 }
    peakParked = Math.max(peakParked, now.parked)
    if (second % 10 === 0)
      say(`${second} s: ${now.effects} handled, ${now.dead} dead, ${now.parked} parked in ${now.lanes} lanes`)
    const settled = now.effects + now.dead
    if (settled > known) [known, knownAtMs] = [settled, Date.now()]
    if (settled >= messages && now.lanes === 0) break
    if (Date.now() - knownAtMs > 45_000 || Date.now() - startedMs > maxMs) {
      say(`it came to a stand: ${JSON.stringify(now)}`)
      break
    }
  }
  return { tookMs: Date.now() - startedMs, peakParked }
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
  (select count(distinct id) from ${name}.dead join ${name}.effect using (id))::int as both,
  (select count(*) from ${name}.parked)::int as left_parked,
  (select count(*) from healthy)::int as healthy,
  coalesce((select extract(epoch from max(at)) * 1000 from healthy), 0)::float8 as healthy_at`,
    [Math.ceil(keys * bad)],
  )
  const row = rows[0] ?? {}
  const of = (column: string): number => row[column] ?? Number.NaN
  return {
    messages,
    lost: messages - of('known') - of('dead') + of('both'),
    doubled: of('doubled'),
    outOfOrder: of('disordered'),
    both: of('both'),
    dead: of('dead'),
    deadMeant: source.fates.filter((fate) => fate === 'dead').length,
    byWorker: of('by_worker'),
    leftParked: of('left_parked'),
    healthy: { effects: of('healthy'), tookMs: of('healthy_at') - startedMs },
  }
}
