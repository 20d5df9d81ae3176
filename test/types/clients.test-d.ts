/* eslint-disable @typescript-eslint/no-unused-vars -- the values are only there for their types */
import { drizzle as drizzleOnPostgresjs, type PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import { drizzle as drizzleOnPg, type NodePgDatabase, type NodePgTransaction } from 'drizzle-orm/node-postgres'
import type { Cluster, Redis } from 'ioredis'
import type { Kysely, Transaction } from 'kysely'
import type { Client, Pool, PoolClient } from 'pg'
import type { Sql, TransactionSql } from 'postgres'
import { pipeline, type Claimed, type Delivery, type Middleware } from '../../src/index.ts'
import {
  drizzleTransaction,
  inTransaction,
  kyselyTransaction,
  migrate,
  postgresIdempotencyStore,
  postgresjsRunner,
  preparedRunner,
  postgresjsTransaction,
  transaction,
  type Queryable,
} from '../../src/stores/postgres/index.ts'
import { redisIdempotencyStore } from '../../src/stores/redis/index.ts'

// The real types of the clients fit the slices, and `tx` is what each of them calls its transaction.

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
declare function check<_T extends true>(): void
declare const pool: Pool
declare const client: Client
declare const sql: Sql
declare const kysely: Kysely<Tables>
declare const onPg: NodePgDatabase
declare const onPostgresjs: PostgresJsDatabase
interface Tables {
  readonly things: { readonly name: string }
}

// node-postgres
pipeline('x')
  .use(transaction(pool))
  .handle(({ tx }) => {
    check<Equal<typeof tx, PoolClient>>()
  })
void migrate(pool)
postgresIdempotencyStore(pool)
postgresIdempotencyStore(client)
const queryable: Queryable = pool
void queryable

// one overload of connect() alone would infer unknown
declare function naive<C>(from: { connect(): Promise<C> }): Middleware<{ readonly tx: C }>
pipeline('x')
  .use(naive(pool))
  .handle(({ tx }) => {
    // @ts-expect-error tx is unknown here, not PoolClient
    check<Equal<typeof tx, PoolClient>>()
  })

// postgres.js
pipeline('x')
  .use(postgresjsTransaction(sql))
  .handle(({ tx }) => {
    check<Equal<typeof tx, TransactionSql>>()
  })
postgresIdempotencyStore(postgresjsRunner(sql))
postgresIdempotencyStore(preparedRunner(pool))

// Kysely
pipeline('x')
  .use(kyselyTransaction(kysely))
  .handle(async ({ tx }) => {
    check<Equal<typeof tx, Transaction<Tables>>>()
    await tx.insertInto('things').values({ name: 'a' }).execute()
  })

// Drizzle, on both drivers
pipeline('x')
  .use(drizzleTransaction(onPg))
  .handle(({ tx }) => {
    const same: Pick<NodePgTransaction<Record<string, never>, Record<string, never>>, 'rollback'> = tx
    void same
    void tx.insert
  })
pipeline('x')
  .use(drizzleTransaction(onPostgresjs))
  .handle(({ tx }) => {
    void tx.insert
    void tx.rollback
  })
void [drizzleOnPg, drizzleOnPostgresjs]

// anything else: `begin` is a function, so the transaction's type comes from the call the caller knows
declare const anyClient: { begin<T>(work: (tx: { run(text: string): Promise<number> }) => Promise<T>): Promise<T> }
pipeline('x')
  .use(
    inTransaction({
      begin: (work: (tx: { run(text: string): Promise<number> }) => Promise<void>) => anyClient.begin(work),
      runnerOf: (tx) => ({ query: async (text) => ({ rows: [], rowCount: await tx.run(text) }) }),
    }),
  )
  .handle(({ tx }) => {
    check<Equal<typeof tx, { run(text: string): Promise<number> }>>()
  })

// a transaction stage needs no claim, and takes one where it is there
const bare: Middleware<{ readonly tx: PoolClient }, Delivery & Partial<Claimed>> = transaction(pool)
void bare

// ioredis, one server or a cluster, in either mapping of replies
declare const redis: Redis
declare const resp3: Redis<'resp3'>
declare const cluster: Cluster
redisIdempotencyStore(redis)
redisIdempotencyStore(resp3)
redisIdempotencyStore(cluster)
