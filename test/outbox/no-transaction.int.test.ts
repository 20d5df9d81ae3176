import { sql as drizzleSql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { drizzle as drizzlePostgresJs } from 'drizzle-orm/postgres-js'
import { Kysely, PostgresDialect, sql as kyselySql } from 'kysely'
import knex, { type Knex } from 'knex'
import pg from 'pg'
import postgres from 'postgres'
import { DataSource } from 'typeorm'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { postgresOutbox } from '../../src/stores/postgres/outbox/outbox.ts'
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
import { describeWith, postgresUrl } from '../support/services.ts'
import { prismaClient } from './fixtures/prisma.ts'
import { outboxDatabase, type OutboxDatabase } from './support.ts'

// The types refuse most of them; a caller without types, or with a cast, meets these checks.
describeWith(['postgres'], 'outbox.add() outside of a transaction', () => {
  let db: OutboxDatabase
  const closing: (() => unknown)[] = []
  beforeAll(async () => {
    db = await outboxDatabase(postgresUrl())
  })
  afterAll(async () => {
    for (const close of closing) await close()
    await db.dispose()
  })

  const newPool = (): pg.Pool => {
    const pool = new pg.Pool({ connectionString: postgresUrl(), max: 2 })
    closing.push(() => pool.end())
    return pool
  }
  const newPostgresJs = (): postgres.Sql => {
    const sql = postgres(postgresUrl(), { max: 2, onnotice: () => {} })
    closing.push(() => sql.end())
    return sql
  }
  async function newTypeOrm(): Promise<DataSource> {
    const source = await new DataSource({ type: 'postgres', url: postgresUrl(), poolSize: 2 }).initialize()
    closing.push(() => source.destroy())
    return source
  }
  async function idleClient(): Promise<pg.PoolClient> {
    const client = await newPool().connect()
    closing.unshift(() => client.release())
    await client.query('begin')
    await client.query('commit')
    return client
  }
  async function endedKnex(): Promise<Knex.Transaction> {
    const trx = await newKnex().transaction()
    await trx.commit()
    return trx
  }
  const newKnex = (): Knex => {
    const db = knex({ client: 'pg', connection: postgresUrl(), pool: { min: 0, max: 2 } })
    closing.push(() => db.destroy())
    return db
  }

  const cases: Record<string, readonly [via: unknown, make: () => unknown]> = {
    'a pool of pg': [viaQuery, newPool],
    'a pool of pg, prepared': [viaPrepared, newPool],
    'a client of pg without an open transaction': [viaQuery, idleClient],
    'a DataSource of TypeORM': [viaQuery, newTypeOrm],
    'an EntityManager of TypeORM outside': [viaQuery, async () => (await newTypeOrm()).manager],
    'a QueryRunner of TypeORM without': [
      viaQuery,
      async () => {
        const runner = (await newTypeOrm()).createQueryRunner()
        closing.unshift(() => runner.release())
        return runner
      },
    ],
    'a pool of postgres.js': [viaPostgresJs, newPostgresJs],
    'Drizzle outside, over pg': [viaDrizzle(drizzleSql), () => drizzle(newPool())],
    'Drizzle outside, over postgres.js': [viaDrizzle(drizzleSql), () => drizzlePostgresJs(newPostgresJs())],
    'Kysely outside': [
      viaKysely(kyselySql),
      () => new Kysely<object>({ dialect: new PostgresDialect({ pool: newPool() }) }),
    ],
    'Knex outside': [viaKnex, newKnex],
    'a transaction of Knex that has ended': [viaKnex, endedKnex],
    'a PrismaClient': [
      viaPrisma,
      () => {
        const prisma = prismaClient(postgresUrl())
        closing.push(() => prisma.$disconnect())
        return prisma
      },
    ],
  }

  it.each(Object.entries(cases))('refuses %s, and writes nothing', async (name, [via, make]) => {
    const outbox = postgresOutbox({ schema: db.schema, via: via as Via<unknown> })
    const message = { destination: 'orders', body: null }
    for (const messages of [message, [message, { ...message, delayUntil: Date.now() }]]) {
      const tx = await make()
      const failure: unknown = await outbox.add(tx, messages).catch((error: unknown) => error)
      const what = name.replace(/,.*$/, '')
      expect(failure).toMatchObject({ code: 'bad-option' })
      expect(String(failure)).toContain(`tx must be an open transaction, got ${what}`)
    }
    const { rows } = await db.pool.query('select from outbox union all select from outbox_delayed')
    expect(rows).toEqual([])
  })

  it('takes a client of pg whose `begin` is still on its way, and a reserved connection of postgres.js', async () => {
    const message = { destination: 'orders', body: null }
    const client = await idleClient()
    const begun = client.query('begin')
    await postgresOutbox({ schema: db.schema }).add(client, message)
    await begun
    await client.query('rollback')

    const reserved = await newPostgresJs().reserve()
    await reserved`begin`
    await postgresOutbox({ schema: db.schema, via: viaPostgresJs }).add(reserved, message)
    await reserved`rollback`
    reserved.release()
    const { rows } = await db.pool.query('select from outbox')
    expect(rows).toEqual([])
  })
})
