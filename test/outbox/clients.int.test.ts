import { sql as drizzleSql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { drizzle as drizzlePostgresJs } from 'drizzle-orm/postgres-js'
import { Kysely, PostgresDialect, sql as kyselySql, type ControlledTransaction } from 'kysely'
import knex, { type Knex } from 'knex'
import pg from 'pg'
import postgres from 'postgres'
import { DataSource, type EntityManager } from 'typeorm'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { headersFrom } from '../../src/core/message.ts'
import type { Outbox } from '../../src/outbox/outbox.ts'
import {
  viaDrizzle,
  viaKnex,
  viaKysely,
  viaPostgresJs,
  viaPrepared,
  viaPrisma,
  viaQuery,
  type Via,
} from '../../src/stores/postgres/outbox/via.ts'
import { postgresOutboxStore } from '../../src/stores/postgres/outbox/store.ts'
import { postgresOutbox } from '../../src/stores/postgres/outbox/outbox.ts'
import type { OutboxRow } from '../../src/outbox/store.ts'
import { prismaClient } from './fixtures/prisma.ts'
import { describeOnBoth, outboxDatabase, type OutboxDatabase } from './support.ts'

/** One client: its outbox, bound to the transactions that it opens itself. */
interface Client {
  /** Runs `work` in a transaction of the client's own; a throw rolls it back. */
  inTransaction(work: (tx: Bound) => Promise<void>): Promise<unknown>
  close(): Promise<unknown>
}

interface Bound {
  add(
    ...args: Parameters<Outbox<never>['add']> extends [never, ...infer Rest] ? Rest : never
  ): Promise<readonly string[]>
  run(statement: string): PromiseLike<unknown>
  /** Runs `work` in a transaction within this one, as the client calls it; a throw rolls that one back. */
  nested(work: (tx: Bound) => Promise<void>): PromiseLike<unknown>
}

/** How a client nests: by its own name for it, or by hand where it has none. */
type Nest<Tx> = (tx: Tx, work: (inner: Tx) => Promise<void>) => PromiseLike<unknown>

function bound<Tx>(schema: string, via: Via<Tx>, nest: Nest<Tx> = byHand(via)): (tx: Tx) => Bound {
  const outbox = postgresOutbox({ schema, via })
  const bind = (tx: Tx): Bound => ({
    add: (messages, options) => outbox.add(tx, messages, options),
    run: (statement) => via(tx, statement, []),
    nested: (work) => nest(tx, (inner) => work(bind(inner))),
  })
  return bind
}

function byHand<Tx>(via: Via<Tx>): Nest<Tx> {
  return async function nest(tx, work) {
    await via(tx, 'savepoint nested', [])
    try {
      await work(tx)
    } catch (error) {
      await via(tx, 'rollback to savepoint nested', [])
      throw error
    }
    await via(tx, 'release savepoint nested', [])
  }
}

type Open = (url: string, schema: string) => Promise<Client> | Client

function pgClient(url: string, bind: (tx: pg.PoolClient) => Bound): Client {
  const pool = new pg.Pool({ connectionString: url, max: 2 })
  return {
    async inTransaction(work) {
      const client = await pool.connect()
      try {
        await client.query('begin')
        await work(bind(client))
        await client.query('commit')
      } catch (error) {
        await client.query('rollback')
        throw error
      } finally {
        client.release()
      }
    },
    close: () => pool.end(),
  }
}

const clients: Record<string, Open> = {
  pg: (url, schema) => pgClient(url, bound(schema, viaQuery)),
  'pg, prepared': (url, schema) => pgClient(url, bound(schema, viaPrepared)),
  'postgres.js': (url, schema) => {
    const sql = postgres(url, { max: 2, onnotice: () => {} })
    const bind = bound<postgres.TransactionSql>(schema, viaPostgresJs, (tx, work) => tx.savepoint((sql) => work(sql)))
    return { inTransaction: (work) => sql.begin((tx) => work(bind(tx))), close: () => sql.end() }
  },
  'Drizzle over pg': (url, schema) => {
    const pool = new pg.Pool({ connectionString: url, max: 2 })
    const db = drizzle(pool)
    type Tx = Parameters<Parameters<typeof db.transaction>[0]>[0]
    const bind = bound<Tx>(schema, viaDrizzle(drizzleSql), (tx, work) => tx.transaction(work))
    return { inTransaction: (work) => db.transaction((tx) => work(bind(tx))), close: () => pool.end() }
  },
  'Drizzle over postgres.js': (url, schema) => {
    const sql = postgres(url, { max: 2, onnotice: () => {} })
    const db = drizzlePostgresJs(sql)
    type Tx = Parameters<Parameters<typeof db.transaction>[0]>[0]
    const bind = bound<Tx>(schema, viaDrizzle(drizzleSql), (tx, work) => tx.transaction(work))
    return { inTransaction: (work) => db.transaction((tx) => work(bind(tx))), close: () => sql.end() }
  },
  Kysely: (url, schema) => {
    const db = new Kysely<object>({
      dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: url, max: 2 }) }),
    })
    type Tx = ControlledTransaction<object>
    const bind = bound<Tx>(schema, viaKysely(kyselySql), async (trx, work) => {
      const within = await trx.savepoint('nested').execute()
      try {
        await work(trx)
      } catch (error) {
        await within.rollbackToSavepoint('nested').execute()
        throw error
      }
      await within.releaseSavepoint('nested').execute()
    })
    // Savepoints are for its controlled transactions only.
    async function inTransaction(work: (tx: Bound) => Promise<void>): Promise<void> {
      const trx = await db.startTransaction().execute()
      try {
        await work(bind(trx))
      } catch (error) {
        await trx.rollback().execute()
        throw error
      }
      await trx.commit().execute()
    }
    return { inTransaction, close: () => db.destroy() }
  },
  Knex: (url, schema) => {
    const db = knex({ client: 'pg', connection: url, pool: { min: 0, max: 2 } })
    const bind = bound<Knex.Transaction>(schema, viaKnex, (trx, work) => trx.transaction(work))
    return { inTransaction: (work) => db.transaction((trx) => work(bind(trx))), close: () => db.destroy() }
  },
  TypeORM: async (url, schema) => {
    const db = await new DataSource({ type: 'postgres', url, poolSize: 2 }).initialize()
    const bind = bound<EntityManager>(schema, viaQuery, (manager, work) => manager.transaction(work))
    return { inTransaction: (work) => db.transaction((manager) => work(bind(manager))), close: () => db.destroy() }
  },
  Prisma: (url, schema) => {
    const db = prismaClient(url)
    const bind = bound(schema, viaPrisma)
    return { inTransaction: (work) => db.$transaction((tx) => work(bind(tx))), close: () => db.$disconnect() }
  },
}

describeOnBoth('postgresOutbox() through any client', (url) => {
  for (const [name, open] of Object.entries(clients))
    describe(name, () => {
      let db: OutboxDatabase
      let client: Client

      beforeAll(async () => {
        db = await outboxDatabase(url())
        client = await open(url(), db.schema)
      })
      afterAll(async () => {
        await client.close()
        await db.dispose()
      })

      /** What a relay would publish now, in order per shard; settled, so that the next call sees only what is newer. */
      async function committed(): Promise<OutboxRow[]> {
        const store = postgresOutboxStore(db.pool, { schema: db.schema })
        const rows: OutboxRow[] = []
        for (const held: number[] = []; held.length < 4;) {
          const lease = await store.claim('test', 10_000, held)
          if (lease === null) throw new Error('a shard is held by somebody else')
          held.push(lease.shard)
          const read = await lease.read(1000, 1_000_000)
          if (read === 'lost') throw new Error('lost')
          rows.push(...read)
          await lease.settle([])
          await lease.release()
        }
        return rows
      }

      it('O-20: brings id, key, type, headers and bytes through unchanged', async () => {
        const body = Buffer.from([0, 1, 255, 128, 39, 36, 63, 92])
        const headers = headersFrom([
          ['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
          ['binary', Buffer.from([255, 0, 254])],
          ['repeated', ['a', Buffer.from([128])]],
          ['__proto__', 'plain data'],
          ['quotes', `it's "$1" ? \\ {"b64":"x"}`],
        ])
        await client.inTransaction(async (tx) => {
          expect(
            await tx.add({ id: 'm-1', destination: 'orders', key: "k'1", type: 'order.placed', headers, body }),
          ).toEqual(['m-1'])
        })
        const [row, ...others] = await committed()
        expect(others).toEqual([])
        expect(row).toMatchObject({ id: 'm-1', destination: 'orders', key: "k'1", type: 'order.placed' })
        expect(Buffer.from(row?.body ?? [])).toEqual(body)
        const { 'outbox-id': id, ...rest } = row?.headers ?? {}
        expect(id).toMatch(/^[0-9a-f-]{36}\/\d+\/\d+$/)
        expect(Object.entries(rest).sort()).toEqual(Object.entries(headers).sort())
      })

      it('adds tombstones and many messages in order, with one statement', async () => {
        const ids = Array.from({ length: 250 }, (_, place) => `many-${place}`)
        await client.inTransaction(async (tx) => {
          await tx.add(ids.map((id) => ({ id, destination: 'orders', key: 'one', body: null })))
        })
        const rows = await committed()
        expect(rows.map(({ id }) => id)).toEqual(ids)
        expect(rows.every(({ body }) => body === null)).toBe(true)
      })

      it('leaves nothing of a transaction that rolls back', async () => {
        const failing = client.inTransaction(async (tx) => {
          await tx.add({ destination: 'orders', body: Buffer.from('never') })
          throw new Error('the order is refused')
        })
        await expect(failing).rejects.toThrow('the order is refused')
        expect(await committed()).toEqual([])
      })

      it('leaves nothing of a savepoint that is rolled back, and keeps the rest', async () => {
        await client.inTransaction(async (tx) => {
          await tx.add({ id: 'before', destination: 'orders', key: 'k', body: null })
          await tx.run('savepoint a')
          await tx.add({ id: 'within', destination: 'orders', key: 'k', body: null })
          await tx.run('rollback to savepoint a')
          await tx.run('savepoint b')
          await tx.add({ id: 'kept', destination: 'orders', key: 'k', body: null })
          await tx.run('release savepoint b')
          await tx.add({ id: 'after', destination: 'orders', key: 'k', body: null })
        })
        expect((await committed()).map(({ id }) => id)).toEqual(['before', 'kept', 'after'])
      })

      it('goes with a nested transaction of the client: gone where that is rolled back, kept where it is not', async () => {
        await client.inTransaction(async (tx) => {
          await tx.add({ id: 'before', destination: 'orders', key: 'k', body: null })
          const failing = async (): Promise<void> => {
            await tx.nested(async (inner) => {
              await inner.add({ id: 'within', destination: 'orders', key: 'k', body: null })
              throw new Error('not this part')
            })
          }
          await expect(failing()).rejects.toThrow('not this part')
          await tx.nested(async (inner) => {
            await inner.add({ id: 'kept', destination: 'orders', key: 'k', body: null })
          })
          await tx.add({ id: 'after', destination: 'orders', key: 'k', body: null })
        })
        expect((await committed()).map(({ id }) => id)).toEqual(['before', 'kept', 'after'])
      })

      it('locks the keys first with strictOrder, and keeps delayed messages apart', async () => {
        await client.inTransaction(async (tx) => {
          await tx.add(
            ['b', 'a', 'b', null].map((key, place) => ({
              id: `s-${place}`,
              destination: 'orders',
              key,
              body: Buffer.from('x'),
            })),
            { strictOrder: true },
          )
          await tx.add(
            [
              { id: 'late', destination: 'orders', body: null, delayUntil: new Date('2040-01-01') },
              { id: 's-4', destination: 'orders', key: "it's $1?", body: null },
            ],
            { strictOrder: true },
          )
          const held = await db.pool.query<{ n: string }>(
            "select count(*) n from pg_locks where locktype = 'advisory' and granted and database = (select oid from pg_database where datname = current_database()) and pid in (select pid from pg_stat_activity where xact_start is not null and query ilike '%outbox_delayed%' or query ilike '%insert into%outbox%')",
          )
          expect(Number(held.rows[0]?.n)).toBeGreaterThanOrEqual(3)
        })
        const rows = await committed()
        expect(rows.map(({ id }) => id).sort()).toEqual(['s-0', 's-1', 's-2', 's-3', 's-4'])
        expect(rows.filter(({ key }) => key === 'b').map(({ id }) => id)).toEqual(['s-0', 's-2'])
        const delayed = await db.pool.query('select message_id, due_at from outbox_delayed')
        expect(delayed.rows).toEqual([{ message_id: 'late', due_at: new Date('2040-01-01') }])
      })

      it('explains a missing schema, and writes nothing where one message of several is bad', async () => {
        const elsewhere = await open(url(), 'not_migrated')
        await expect(
          elsewhere.inTransaction(async (tx) => {
            await tx.add({ destination: 'orders', body: null })
          }),
        ).rejects.toThrow(/the schema not_migrated has no outbox, or an older one: run migrate/)
        await elsewhere.close()
        await client.inTransaction(async (tx) => {
          const messages = [
            { id: 'fine', destination: 'orders', body: null },
            { id: 'large', destination: 'orders', body: Buffer.alloc(1_000_000) },
          ]
          await expect(tx.add(messages)).rejects.toThrow(
            /the message large to orders has 1000000 bytes, more than maxBytes/,
          )
        })
        expect(await committed()).toEqual([])
      })
    })
})
