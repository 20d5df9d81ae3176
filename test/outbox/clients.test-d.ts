// Each adapter takes the real type of its client's transaction, and nothing that is not one.
import type { ClientOtherOps } from '@prisma/client/runtime/client'
import { sql as drizzleSql } from 'drizzle-orm'
import type { NodePgDatabase } from 'drizzle-orm/node-postgres'
import type { PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import { sql as kyselySql, type Kysely } from 'kysely'
import type { Knex } from 'knex'
import type { Pool, PoolClient } from 'pg'
import type { Sql } from 'postgres'
import type { DataSource, EntityManager, QueryRunner } from 'typeorm'
import { json, type Outgoing, type Publisher } from '../../src/index.ts'
import { outboxRelay } from '../../src/outbox/relay.ts'
import { postgresOutboxStore } from '../../src/stores/postgres/outbox/store.ts'
import { postgresOutbox } from '../../src/stores/postgres/outbox/outbox.ts'
import {
  viaDrizzle,
  viaKnex,
  viaKysely,
  viaPostgresJs,
  viaPrepared,
  viaPrisma,
} from '../../src/stores/postgres/outbox/via.ts'
import { z } from 'zod'
import type { PrismaSlice } from './fixtures/prisma.ts'

declare const pool: Pool
declare const client: PoolClient
declare const manager: EntityManager
declare const runner: QueryRunner
declare const source: DataSource
declare const postgresJs: Sql
declare const drizzlePg: NodePgDatabase
declare const drizzleJs: PostgresJsDatabase
declare const kysely: Kysely<{ a: { b: string } }>
declare const knex: Knex
declare const prisma: PrismaSlice
/** What a generated client takes its raw queries from, in a transaction too; the client itself needs `prisma generate`. */
declare const prismaRaw: ClientOtherOps
declare const publisher: Publisher
const message = { destination: 'orders', body: null }

const outbox = postgresOutbox()
void outbox.add(client, message)
void postgresOutbox({ via: viaPrepared }).add(client, message)
void outbox.add(manager, message)
void outbox.add(runner, message)
void source.transaction((tx) => outbox.add(tx, [message], { strictOrder: true }))
void postgresJs.begin((tx) => postgresOutbox({ via: viaPostgresJs }).add(tx, message))
const overDrizzle = postgresOutbox({ via: viaDrizzle(drizzleSql) })
void drizzlePg.transaction((tx) => overDrizzle.add(tx, message))
void drizzleJs.transaction((tx) => overDrizzle.add(tx, message))
void kysely.transaction().execute((trx) => postgresOutbox({ via: viaKysely(kyselySql) }).add(trx, message))
void knex.transaction((trx) => postgresOutbox({ via: viaKnex }).add(trx, message))
void postgresOutbox({ via: viaPrisma }).add(prismaRaw, message)
void prisma.$transaction((tx) => postgresOutbox({ via: viaPrisma }).add(tx, message))

// @ts-expect-error postgres.js has no query(): it needs its `via`
void postgresJs.begin((tx) => outbox.add(tx, message))
// @ts-expect-error a transaction of another client
void postgresOutbox({ via: viaKnex }).add(client, message)

// What is no transaction would commit by itself.
// @ts-expect-error a pool of pg
void outbox.add(pool, message)
// @ts-expect-error a pool of pg
void postgresOutbox({ via: viaPrepared }).add(pool, message)
// @ts-expect-error a DataSource of TypeORM
void outbox.add(source, message)
// @ts-expect-error a pool of postgres.js
void postgresOutbox({ via: viaPostgresJs }).add(postgresJs, message)
// @ts-expect-error Drizzle outside of a transaction
void overDrizzle.add(drizzlePg, message)
// @ts-expect-error Drizzle outside of a transaction
void overDrizzle.add(drizzleJs, message)
// @ts-expect-error Kysely outside of a transaction
void postgresOutbox({ via: viaKysely(kyselySql) }).add(kysely, message)
// @ts-expect-error Knex outside of a transaction
void postgresOutbox({ via: viaKnex }).add(knex, message)
// @ts-expect-error a PrismaClient
void postgresOutbox({ via: viaPrisma }).add(prisma, message)

// Bodies are bytes, unless a codec says otherwise.
const typed = postgresOutbox({ codec: json(z.object({ cents: z.number() })) })
void typed.add(client, { destination: 'orders', body: { cents: 1 } })
// @ts-expect-error not what the codec takes
void typed.add(client, { destination: 'orders', body: { cents: '1' } })
// @ts-expect-error neither bytes nor null
void outbox.add(client, { destination: 'orders', body: { cents: 1 } })
void postgresOutbox({ claimCheck: ({ id }: Outgoing) => Promise.resolve({ body: Buffer.from(id) }) })

void outboxRelay({ store: postgresOutboxStore(pool), publisher }).run(new AbortController().signal)
