import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { inTime } from '../../../test/support/in-time.ts'
import { openLedger, type Ledger } from '../../../test/support/ledger.ts'
import { pgbouncer, type Pgbouncer } from '../../../test/support/pgbouncer.ts'
import type { RunHow } from '../scenario.ts'
import { isPoison, type InsideAnswer, type InsideOrder, type InsideRun, type InsideWorkerSettings } from './settings.ts'

const workers = 3
const inFlight = 24
const leaseMs = 1_200
/** Longer than the server lets a transaction be silent. */
const stoppedMs = 2_500
const longestRunMs = 600_000
/** Longer than any wait of a claim, a lease or a stop: by then something waits for ever. */
const stillMs = 30_000
const longestEndMs = 20_000

export interface InsideCounts {
  readonly messages: number
  readonly duplicates: number
  readonly kills: number
  readonly stops: number
  readonly lost: number
  readonly doubled: number
  /** Of messages that can never be handled. */
  readonly poisonEffects: number
  readonly poisonNotDead: number
  readonly unsettled: number
}

interface Worker {
  readonly child: ChildProcess
  readonly open: Map<number, string>
  ready: boolean
  stopped: boolean
}

/** Processes that handle the same messages, and what happened to them. */
class Fleet {
  readonly acked = new Set<string>()
  readonly todo: { readonly id: string; readonly first: boolean }[]
  readonly workers = new Set<Worker>()
  /** When a worker last answered. */
  heardAtMs = performance.now()
  readonly #settings: InsideWorkerSettings
  readonly #random: () => number
  #orders = 0
  #over = false

  constructor(settings: InsideWorkerSettings, ids: readonly string[], random: () => number) {
    this.#settings = settings
    this.#random = random
    this.todo = ids.map((id) => ({ id, first: true }))
    for (let n = 0; n < workers; n++) this.#start()
  }

  get awake(): readonly Worker[] {
    return [...this.workers].filter(({ ready, stopped }) => ready && !stopped)
  }

  send(worker: Worker, { id, first }: { readonly id: string; readonly first: boolean }): void {
    const n = ++this.#orders
    worker.open.set(n, id)
    const order: InsideOrder = { n, id, first }
    worker.child.stdin?.write(`${JSON.stringify(order)}\n`)
  }

  /** Comes again, and half of the time wrongly for the first time: both ways of claiming meet at one key. */
  again(ids: Iterable<string>): void {
    for (const id of ids) this.todo.push({ id, first: this.#random() < 0.5 })
  }

  async end(): Promise<void> {
    this.#over = true
    await Promise.all(
      [...this.workers].map(async ({ child }) => {
        const gone = once(child, 'close')
        child.kill('SIGKILL')
        await gone
      }),
    )
  }

  #start(): void {
    if (this.#over) return
    const flags = ['--disable-warning=TimeoutNegativeWarning', '--disable-warning=ExperimentalWarning']
    const args = [...flags, join(import.meta.dirname, 'worker.ts'), JSON.stringify(this.#settings)]
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    const worker: Worker = { child, open: new Map(), ready: false, stopped: false }
    this.workers.add(worker)
    child.stdin.on('error', () => {})
    createInterface(child.stdout).on('line', (line) => {
      if (line === 'ready') worker.ready = true
      else this.#answered(worker, JSON.parse(line) as InsideAnswer)
    })
    child.once('close', () => {
      this.workers.delete(worker)
      this.again(worker.open.values())
      this.#start()
    })
  }

  #answered(worker: Worker, answer: InsideAnswer): void {
    this.heardAtMs = performance.now()
    const id = worker.open.get(answer.n)
    worker.open.delete(answer.n)
    if (id === undefined) return
    if ('ack' in answer) this.acked.add(id)
    else if (!this.acked.has(id)) this.again([id])
  }
}

export async function insideRun(run: InsideRun, how: RunHow, random: () => number): Promise<InsideCounts> {
  const ledger = await inTime('making the tables', longestEndMs, openLedger(how.url('postgres')))
  const ends = [() => ledger.dispose()]
  try {
    await ledger.pool.query(`create table ${ledger.schema}.dead (id text not null)`)
    const pooler = run.pooled === true ? await pgbouncer(how.url('postgres')) : undefined
    if (pooler !== undefined) ends.unshift(() => pooler.dispose())
    const url = pooler?.url ?? how.url('postgres')
    const ids = Array.from({ length: run.messages }, (_, n) => `m${n}`)
    const fleet = new Fleet({ ...run, url, schema: ledger.schema, leaseMs, broken: how.broken ?? null }, ids, random)
    ends.unshift(() => fleet.end())
    const faults = await attacked(fleet, how, random, () => whatWaits(fleet, ledger, pooler))
    await inTime('the end of the workers', longestEndMs, fleet.end())
    const counts = await inTime('counting the effects', longestEndMs, countIn(ledger, ids))
    return { messages: ids.length, ...faults, ...counts, unsettled: ids.length - fleet.acked.size }
  } finally {
    for (const end of ends)
      await inTime('cleaning up', longestEndMs, end()).catch((error: unknown) => how.say(String(error)))
  }
}

/** Sends everything, and kills and stops processes, until all is settled. Fails where nothing moves any more. */
async function attacked(
  fleet: Fleet,
  { signal }: RunHow,
  random: () => number,
  waits: () => Promise<string>,
): Promise<Faults> {
  const faults = { duplicates: 0, kills: 0, stops: 0 }
  const all = fleet.todo.length
  const endMs = performance.now() + longestRunMs
  let nextFaultMs = performance.now() + 1_500
  while (fleet.acked.size < all && performance.now() < endMs && !signal.aborted) {
    feed(fleet, random, faults)
    if (performance.now() > nextFaultMs && fleet.awake.length > 1) {
      nextFaultMs = performance.now() + 2_000 + random() * 2_000
      strike(fleet, random, faults)
    }
    if (performance.now() - fleet.heardAtMs > stillMs)
      throw new Error(`nothing was settled for ${stillMs} ms, ${fleet.acked.size} of ${all} were:\n${await waits()}`)
    await sleep(5)
  }
  if (fleet.acked.size < all && !signal.aborted)
    throw new Error(`only ${fleet.acked.size} of ${all} were settled in ${longestRunMs} ms:\n${await waits()}`)
  // What was stopped wakes, and finds that others went on.
  await sleep(stoppedMs + 1_000)
  return faults
}

/** What every process, the pooler and the server's sessions of this run are doing. */
async function whatWaits(fleet: Fleet, { pool, schema }: Ledger, pooler: Pgbouncer | undefined): Promise<string> {
  const { rows } = await pool.query<{ session: string }>(
    `select format('  session %s: %s, waits for %s, %s: %s', pid, state, coalesce(wait_event, 'nothing'),
       clock_timestamp() - state_change, left(regexp_replace(query, '\\s+', ' ', 'g'), 120)) as session
     from pg_stat_activity where pid <> pg_backend_pid() and query like '%' || $1 || '%'`,
    [schema],
  )
  const workers = [...fleet.workers].map(
    ({ child, ready, stopped, open }) =>
      `  process ${child.pid}: ${stopped ? 'stopped' : ready ? 'ready' : 'starting'}, ${open.size} open: ${[...open.values()].slice(0, 5).join()}`,
  )
  const said =
    pooler === undefined ? [] : [`  pgbouncer ${pooler.isGone ? 'is gone' : 'runs'}, and said:`, await pooler.log()]
  return [`  ${fleet.todo.length} wait to be sent`, ...workers, ...rows.map(({ session }) => session), ...said].join(
    '\n',
  )
}

type Faults = { duplicates: number; kills: number; stops: number }

function feed(fleet: Fleet, random: () => number, counts: Faults): void {
  const { awake } = fleet
  for (const worker of awake)
    while (worker.open.size < inFlight && fleet.todo.length > 0) {
      const next = fleet.todo.shift()
      if (next === undefined) break
      fleet.send(worker, next)
      if (random() >= 0.3) continue
      // A duplicate at the same moment, to any of them.
      const other = awake[Math.floor(random() * awake.length)]
      if (other === undefined) continue
      counts.duplicates++
      fleet.send(other, next)
    }
}

function strike(fleet: Fleet, random: () => number, counts: Faults): void {
  const { awake } = fleet
  const worker = awake[Math.floor(random() * awake.length)]
  if (worker === undefined) return
  if (random() < 0.6) {
    counts.kills++
    worker.child.kill('SIGKILL')
    return
  }
  counts.stops++
  worker.stopped = true
  worker.child.kill('SIGSTOP')
  // Taken for dead, long before it wakes.
  setTimeout(() => fleet.again(worker.open.values()), 300)
  setTimeout(() => {
    worker.child.kill('SIGCONT')
    worker.stopped = false
  }, stoppedMs)
}

async function countIn({ pool, schema }: Ledger, ids: readonly string[]) {
  const effects = await pool.query<{ id: string; times: string }>(
    `select id, count(*) as times from ${schema}.effects group by id`,
  )
  const letters = await pool.query<{ id: string }>(`select distinct id from ${schema}.dead`)
  const times = new Map(effects.rows.map((row) => [row.id, Number(row.times)]))
  const dead = new Set(letters.rows.map(({ id }) => id))
  const poison = ids.filter(isPoison)
  return {
    lost: ids.filter((id) => !isPoison(id) && !times.has(id) && !dead.has(id)).length,
    doubled: effects.rows.reduce((sum, row) => sum + Number(row.times) - 1, 0),
    poisonEffects: poison.filter((id) => times.has(id)).length,
    poisonNotDead: poison.filter((id) => !dead.has(id)).length,
  }
}
