import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { postgresOutbox } from '../../../src/stores/postgres/outbox/outbox.ts'

export interface WriterCounts {
  transactions: number
  rolledBack: number
  prepared: number
  repeatable: number
  long: number
  failed: number
}

export interface WriterOptions {
  readonly url: string
  readonly schema: string
  readonly topic: string
  readonly keys: number
  /** How many of the transactions are repeatable read. @defaultValue 0.2 */
  readonly repeatableShare?: number
  readonly random: () => number
  readonly until: () => boolean
  readonly counts: WriterCounts
}

/**
 * Transactions of every kind until enough is committed. A message's number is its key's counter, drawn under the lock
 * of that row; `truth` is written in the same transaction, so that it says what was really committed.
 */
export async function writer(options: WriterOptions): Promise<void> {
  const { url, schema, topic, keys, repeatableShare = 0.2, random, until, counts } = options
  const outbox = postgresOutbox({ schema })
  const held: { client: pg.Client | null } = { client: null }

  async function connected(): Promise<pg.Client> {
    if (held.client !== null) return held.client
    const fresh = new pg.Client({ connectionString: url, options: `-c search_path=${schema}` })
    fresh.on('error', () => {})
    await fresh.connect()
    held.client = fresh
    return fresh
  }

  async function add(tx: pg.Client): Promise<void> {
    // In one order, so that two transactions do not wait for each other.
    const chosen = new Set(Array.from({ length: 1 + Math.floor(random() * 8) }, () => Math.floor(random() * keys)))
    for (const key of [...chosen].sort((a, b) => a - b)) {
      const { rows } = await tx.query<{ n: number }>('update counter set n = n + 1 where key = $1 returning n', [key])
      const id = `${key}:${rows[0]?.n}`
      await outbox.add(tx, { id, destination: topic, key: String(key), body: Buffer.from(id) })
      await tx.query('insert into truth (id) values ($1)', [id])
    }
  }

  async function transaction(): Promise<void> {
    const tx = await connected()
    const repeatable = random() < repeatableShare
    if (repeatable) counts.repeatable++
    await tx.query(repeatable ? 'begin isolation level repeatable read' : 'begin')
    if (random() < 0.6) await tx.query('insert into elsewhere values (1)')
    if (random() < 0.02) {
      counts.long++
      await sleep(200 + random() * 1500)
    }
    await add(tx)
    if (random() < 0.15) {
      await tx.query('savepoint s')
      await add(tx)
      if (random() < 0.5) await tx.query('rollback to savepoint s')
      else await tx.query('release savepoint s')
    }
    if (random() < 0.2) await sleep(random() * 10)
    if (random() < 0.1) {
      counts.rolledBack++
      await tx.query('rollback')
    } else if (random() < 0.03) {
      counts.prepared++
      const name = `${schema}_${Math.floor(random() * 1e12)}`
      await tx.query(`prepare transaction '${name}'`)
      await sleep(random() * 300)
      await tx.query(`commit prepared '${name}'`)
    } else await tx.query('commit')
    counts.transactions++
  }

  while (!until()) {
    try {
      await transaction()
    } catch {
      counts.failed++
      // After a serialisation failure the connection is fine; after a restart of the server it is not.
      const ok = await held.client?.query('rollback').then(
        () => true,
        () => false,
      )
      if (ok !== true) {
        await held.client?.end().catch(() => {})
        held.client = null
        await sleep(100)
      }
    }
  }
  await held.client?.end()
}

/** Transactions that were prepared before the server went down wait for somebody to end them. */
export async function endPrepared(pool: pg.Pool, schema: string): Promise<void> {
  const { rows } = await pool.query<{ gid: string }>('select gid from pg_prepared_xacts where gid like $1', [
    `${schema}%`,
  ])
  for (const { gid } of rows) await pool.query(`commit prepared '${gid}'`).catch(() => {})
}
