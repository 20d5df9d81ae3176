import { drizzle } from 'drizzle-orm/node-postgres'
import { drizzle as drizzleOnPostgresjs } from 'drizzle-orm/postgres-js'
import { Kysely, PostgresDialect } from 'kysely'
import type pg from 'pg'
import postgres from 'postgres'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Middleware, StatementRunner } from '../../src/core/delivery.ts'
import { memorySequenceStore } from '../../src/ordering/memory-sequence-store.ts'
import { sequence } from '../../src/ordering/sequence.ts'
import type { SequenceStore } from '../../src/ordering/store.ts'
import { retry } from '../../src/retry/retry.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { headersFrom } from '../../src/core/message.ts'
import { postgresSequenceStore } from '../../src/stores/postgres/outbox/marks.ts'
import {
  drizzleTransaction,
  kyselyTransaction,
  postgresjsTransaction,
  transaction,
} from '../../src/stores/postgres/transaction.ts'
import { describeOnBoth, outboxDatabase, type OutboxDatabase } from '../outbox/support.ts'

const message = (
  id: number | null,
  { key = 'k', timeline = 1, source = 's' }: Partial<Record<'key' | 'source', string>> & { timeline?: number } = {},
) => ({
  id: `${source}-${timeline}-${id}`,
  key,
  body: null,
  headers: headersFrom(id === null ? [] : [['outbox-id', `${source}/${timeline}/${id}`]]),
})

function common(title: string, store: () => SequenceStore): void {
  describe(title, () => {
    it('handles what is newer, and acks what is older or the same', async () => {
      const handled: string[] = []
      const orders = pipeline('a')
        .use(sequence({ store: store() }))
        .handle(({ message: { id } }) => void handled.push(id))
      const outcome = (id: number | null, more = {}) => orders.dispatch({ message: message(id, more) })
      expect(await outcome(5)).toBe('handled')
      expect(await outcome(4)).toBe('stale')
      expect(await outcome(5)).toBe('duplicate')
      expect(await outcome(6)).toBe('handled')
      // Another key, another outbox, a message of no outbox: nothing to compare with.
      expect(await outcome(1, { key: 'other' })).toBe('handled')
      expect(await outcome(1, { source: 'another' })).toBe('handled')
      expect(await outcome(null)).toBe('handled')
      // After a failover ids may be drawn again: the timeline says which came later.
      expect(await outcome(2, { timeline: 2 })).toBe('handled')
      expect(await outcome(7, { timeline: 1 })).toBe('stale')
      expect(handled).toHaveLength(6)
    })

    it('keeps the marks of two pipelines and of two destinations apart', async () => {
      const shared = store()
      const make = (name: string) =>
        pipeline(name)
          .use(sequence({ store: shared }))
          .handle(() => {})
      expect(await make('a').dispatch({ message: message(5) })).toBe('handled')
      expect(await make('b').dispatch({ message: message(4) })).toBe('handled')
      expect(await make('a').dispatch({ message: message(4), origin: { destination: 'elsewhere' } })).toBe('handled')
    })

    it('does not move the mark for a handler that failed', async () => {
      let fail = true
      const orders = pipeline('a')
        .use(sequence({ store: store() }))
        .handle(() => (fail ? Promise.reject(new Error('later')) : undefined))
      await expect(orders.dispatch({ message: message(5) })).rejects.toThrow('later')
      fail = false
      expect(await orders.dispatch({ message: message(4) })).toBe('handled')
      expect(await orders.dispatch({ message: message(5) })).toBe('handled')
    })
  })
}

common('sequence(), in memory', memorySequenceStore)

describe('sequence()', () => {
  it('stands inside retry, and says why', () => {
    const wrong = () =>
      pipeline('a')
        .use(sequence({ store: memorySequenceStore() }))
        .use(retry())
        .handle(() => {})
    expect(wrong).toThrow('a: retry must stand outside sequence: a failed attempt must not move the mark')
  })
})

describeOnBoth('sequence()', (url) => {
  let db: OutboxDatabase
  beforeEach(async () => {
    db = await outboxDatabase(url())
  })
  afterEach(async () => {
    await db.dispose()
  })
  const store = () => postgresSequenceStore(db.pool, { schema: db.schema })

  common('by itself', store)

  const stages: Record<string, () => { stage: Middleware; end(): Promise<unknown> }> = {
    'node-postgres': () => ({ stage: transaction(db.pool), end: () => Promise.resolve() }),
    'postgres.js': () => {
      const sql = postgres(db.url, { max: 2 })
      return { stage: postgresjsTransaction(sql), end: () => sql.end() }
    },
    'Drizzle on node-postgres': () => ({
      stage: drizzleTransaction(drizzle(db.pool)),
      end: () => Promise.resolve(),
    }),
    'Drizzle on postgres.js': () => {
      const sql = postgres(db.url, { max: 2 })
      return { stage: drizzleTransaction(drizzleOnPostgresjs(sql)), end: () => sql.end() }
    },
    Kysely: () => ({
      stage: kyselyTransaction(new Kysely<object>({ dialect: new PostgresDialect({ pool: db.pool }) })),
      end: () => Promise.resolve(),
    }),
  }
  it.each(Object.entries(stages))('moves the mark in a transaction of %s', async (_, open) => {
    const { stage, end } = open()
    let fail = false
    const orders = pipeline('a')
      .use(stage)
      .use(sequence({ store: store() }))
      .handle(() => (fail ? Promise.reject(new Error('later')) : undefined))
    const outcome = (id: number) => orders.dispatch({ message: message(id) })
    expect(await outcome(5)).toBe('handled')
    expect(await outcome(4)).toBe('stale')
    expect(await outcome(5)).toBe('duplicate')
    fail = true
    await expect(outcome(9)).rejects.toThrow('later')
    fail = false
    expect(await outcome(6)).toBe('handled')
    await end()
  })

  it('runs its statements in the transaction of any middleware as runnerOf says', async () => {
    const own: Middleware<{ readonly tx: { readonly client: pg.PoolClient } }> = (next) =>
      async function own(delivery) {
        const client = await db.pool.connect()
        try {
          await client.query('begin')
          const outcome = await next({ ...delivery, tx: { client } })
          await client.query('rollback')
          return outcome
        } finally {
          client.release()
        }
      }
    const make = (runnerOf?: (tx: { readonly client: pg.PoolClient }) => StatementRunner) =>
      pipeline('a')
        .use(own)
        .use(sequence({ store: store(), ...(runnerOf !== undefined && { runnerOf }) }))
        .handle(() => {})
    const orders = make(({ client }) => client)
    expect(await orders.dispatch({ message: message(5) })).toBe('handled')
    // Rolled back with the transaction that it was in.
    expect(await orders.dispatch({ message: message(4) })).toBe('handled')
    await expect(make().dispatch({ message: message(6) })).rejects.toThrow(
      'sequence: the transaction has no query(): give the option runnerOf',
    )
    expect(() => sequence({ store: store(), runnerOf: {} as () => StatementRunner })).toThrow(
      'sequence: runnerOf must be a function, got an object',
    )
  })

  it('moves the mark in the transaction of the handler, and lets no two messages of a key run at once', async () => {
    await db.pool.query('create table effect (id text)')
    let fail = false
    let running = 0
    let most = 0
    const orders = pipeline('a')
      .use(transaction(db.pool))
      .use(sequence({ store: store() }))
      .handle(async ({ message: { id }, tx }) => {
        most = Math.max(most, ++running)
        await tx.query('insert into effect values ($1)', [id])
        running--
        if (fail) throw new Error('later')
      })
    fail = true
    await expect(orders.dispatch({ message: message(9) })).rejects.toThrow('later')
    fail = false
    const outcomes = await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map((id) => orders.dispatch({ message: message(id) })))
    expect(outcomes).toContain('handled')
    expect(most).toBe(1)
    const { rows } = await db.pool.query('select id from effect')
    expect(rows).toHaveLength(outcomes.filter((outcome) => outcome === 'handled').length)
    expect(await orders.dispatch({ message: message(8) })).not.toBe('handled')
    expect(await store().clean(60_000)).toBe(0)
  })
})
