import { drizzle } from 'drizzle-orm/node-postgres'
import { Redis } from 'ioredis'
import { Kysely, PostgresDialect } from 'kysely'
import knex from 'knex'
import pg from 'pg'
import postgres from 'postgres'
import { describe, expect, it } from 'vitest'
import {
  drizzleTransaction,
  kyselyTransaction,
  postgresIdempotencyCleaner,
  postgresIdempotencyStore,
  postgresjsTransaction,
  transaction,
} from '../../src/stores/postgres/index.ts'
import { redisIdempotencyStore } from '../../src/stores/redis/index.ts'

// None of them connects before it is asked for something.
const pool = new pg.Pool()
const clients = {
  pool,
  client: new pg.Client(),
  sql: postgres({ max: 1 }),
  drizzle: drizzle(pool),
  kysely: new Kysely<object>({ dialect: new PostgresDialect({ pool }) }),
  knex: knex({ client: 'pg' }),
  redis: new Redis({ lazyConnect: true }),
  nodeRedis: { evalSha: () => undefined, sendCommand: () => undefined, eval: () => undefined, info: () => undefined },
}

/** What a factory says to the wrong client. */
function told(factory: (client: never) => unknown, client: unknown): string {
  try {
    factory(client as never)
    return 'taken'
  } catch (error) {
    return (error as Error).message
  }
}

describe('a factory that is given the wrong client', () => {
  it.each<[string, (client: never) => unknown, keyof typeof clients, string]>([
    [
      'redisIdempotencyStore',
      redisIdempotencyStore,
      'nodeRedis',
      'got a client of node-redis: this store takes a Redis',
    ],
    ['redisIdempotencyStore', redisIdempotencyStore, 'pool', 'got a pool of pg'],
    ['postgresIdempotencyStore', postgresIdempotencyStore, 'redis', 'got a client of ioredis'],
    [
      'postgresIdempotencyStore',
      postgresIdempotencyStore,
      'sql',
      'got the sql of postgres.js: postgresIdempotencyStore(postgresjsRunner(sql))',
    ],
    ['postgresIdempotencyStore', postgresIdempotencyStore, 'drizzle', 'got Drizzle: give a pool of pg'],
    ['postgresIdempotencyStore', postgresIdempotencyStore, 'kysely', 'got Kysely: give a pool of pg'],
    ['postgresIdempotencyStore', postgresIdempotencyStore, 'knex', 'got Knex: give a pool of pg'],
    ['postgresIdempotencyCleaner', postgresIdempotencyCleaner, 'sql', 'got the sql of postgres.js'],
    [
      'transaction',
      transaction,
      'client',
      'got a single client of pg: every transaction needs a connection of its own',
    ],
    ['transaction', transaction, 'sql', 'got the sql of postgres.js: use postgresjsTransaction(sql)'],
    ['transaction', transaction, 'kysely', 'got Kysely: use kyselyTransaction(db)'],
    ['drizzleTransaction', drizzleTransaction, 'kysely', 'got Kysely'],
    ['kyselyTransaction', kyselyTransaction, 'drizzle', 'got Drizzle'],
    ['postgresjsTransaction', postgresjsTransaction, 'pool', 'got a pool of pg'],
  ])('%s: names it, and says what to give', (name, factory, client, message) => {
    const said = told(factory, clients[client])
    expect(said).toContain(message)
    expect(said).toMatch(new RegExp(`^${name}: \\w+ must be `))
  })

  it('takes the right ones', () => {
    const right: [(client: never) => unknown, unknown][] = [
      [redisIdempotencyStore, clients.redis],
      [postgresIdempotencyStore, clients.pool],
      [transaction, clients.pool],
      [drizzleTransaction, clients.drizzle],
      [kyselyTransaction, clients.kysely],
      [postgresjsTransaction, clients.sql],
    ]
    expect(right.map(([factory, client]) => told(factory, client))).toEqual(right.map(() => 'taken'))
  })
})
