import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { PermanentError } from '../../../src/core/errors.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { deadLetter } from '../../../src/dead-letter/dead-letter.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import {
  migrate,
  postgresDeadLetters,
  postgresIdempotencyStore,
  type PostgresDeadLetters,
} from '../../../src/stores/postgres/index.ts'
import { Workers } from './workers.ts'

export interface LedgerOptions {
  readonly url: string
  readonly total: number
  readonly kills: number
  readonly pauses: number
  readonly signal?: AbortSignal
}

export interface RedriveLedger {
  readonly redrives: number
  readonly kills: number
  readonly pauses: number
  readonly lost: number
  readonly doubled: number
  readonly outOfOrder: number
  readonly stuck: number
  readonly open: number
  readonly states: string
}

const leaseMs = 1500
const workers = 3
const longestMs = 8 * 60_000

/**
 * Letters in redrives, worked on by several processes that are killed and paused, in parallel with redeliveries of the
 * originals. Counts what was lost, done twice, out of its key's order, or left over.
 */
export async function redriveLedger({ url, total, kills, pauses, signal }: LedgerOptions): Promise<RedriveLedger> {
  const schema = `redrive_${Date.now().toString(36)}`
  const pool = new pg.Pool({ connectionString: url, max: 10 })
  pool.on('error', () => {})
  const letters = postgresDeadLetters(pool, { schema })
  const args = [join(import.meta.dirname, 'worker.ts'), url, schema, String(leaseMs)]
  const running = new Workers(args, { kills, pauses }, leaseMs * 2)
  try {
    await bury(pool, schema, letters, total)
    const before = await pool.query<{ key: string }>(`select key from ${schema}.idempotency where state = 'completed'`)
    const redrives = await redriveAll(pool, schema, letters, running, signal)
    await running.stop()
    const counted = await count(pool, schema, total, new Set(before.rows.map(({ key }) => key)))
    return { redrives, kills: running.kills, pauses: running.pauses, ...counted }
  } finally {
    await running.stop()
    await pool.query(`drop schema if exists ${schema} cascade`)
    await pool.end()
  }
}

const isPoison = (n: number): boolean => n % 25 === 7

/** Every message dies once; some are completed by another way meanwhile. */
async function bury(pool: pg.Pool, schema: string, letters: PostgresDeadLetters, total: number): Promise<void> {
  await migrate(pool, { schema })
  await pool.query(`create table ${schema}.effect (at bigserial, id text, key text, n int)`)
  const dying = pipeline('billing')
    .use(deadLetter({ to: letters }))
    .use(idempotency({ store: postgresIdempotencyStore(pool, { schema }) }))
    .handle(() => {
      throw new PermanentError('a bug')
    })
  for (let n = 0; n < total; n++) {
    const body = Buffer.from(JSON.stringify({ n, ...(isPoison(n) && { poison: true }) }))
    const key = n % 10 === 3 ? null : `key-${n % Math.ceil(total / 8)}`
    await dying.dispatch({ message: { id: `m${n}`, key, body }, origin: { destination: 'orders' } })
  }
  await pool.query(`update ${schema}.idempotency set state = 'completed', failure = null where key ~ '^m\\d*33$'`)
}

/** One redrive after the other, until nothing but poison is left. */
async function redriveAll(
  pool: pg.Pool,
  schema: string,
  letters: PostgresDeadLetters,
  running: Workers,
  signal: AbortSignal | undefined,
): Promise<number> {
  let redrives = 0
  const until = Date.now() + longestMs
  while (Date.now() < until && signal?.aborted !== true) {
    if ((await letters.active()).length === 0) {
      const { rows } = await pool.query<{ n: number }>(
        `select count(*)::int as n from ${schema}.dead_letter where state in ('dead', 'redriving') and convert_from(body, 'UTF8') not like '%poison%'`,
      )
      if (rows[0]?.n === 0) break
      // Poison ends its key in every redrive: an operator gives it up once it is seen.
      await letters.drop({ text: 'is poison' }, 'ledger')
      if ((await letters.create({}, { maxRedrives: 1000 }, 'ledger')) !== undefined) redrives++
    }
    running.trouble()
    running.fill(workers)
    await sleep(100)
  }
  return redrives
}

async function count(pool: pg.Pool, schema: string, total: number, completedBefore: ReadonlySet<string>) {
  const effects = (
    await pool.query<{ id: string; key: string | null; n: number }>(`select * from ${schema}.effect order by at`)
  ).rows
  const times = new Map<string, number>()
  for (const { id } of effects) times.set(id, (times.get(id) ?? 0) + 1)
  const of = (n: number): number => (times.get(`m${n}`) ?? 0) + (completedBefore.has(`m${n}`) ? 1 : 0)
  const all = Array.from({ length: total }, (_, n) => n)
  const lastOfKey = new Map<string, number>()
  let outOfOrder = 0
  for (const { key, n } of effects) {
    if (key === null) continue
    if ((lastOfKey.get(key) ?? -1) > n) outOfOrder++
    lastOfKey.set(key, n)
  }
  const { rows: states } = await pool.query<{ state: string; n: number }>(
    `select state, count(*)::int as n from ${schema}.dead_letter group by 1 order by 1`,
  )
  const { rows: open } = await pool.query<{ n: number }>(
    `select count(*)::int as n from ${schema}.redrive_item where result is null`,
  )
  return {
    lost: all.filter((n) => !isPoison(n) && of(n) === 0).length,
    doubled: all.filter((n) => of(n) > 1).length,
    outOfOrder,
    stuck: states.find(({ state }) => state === 'redriving')?.n ?? 0,
    open: open[0]?.n ?? 0,
    states: states.map(({ state, n }) => `${n} ${state}`).join(', '),
  }
}
