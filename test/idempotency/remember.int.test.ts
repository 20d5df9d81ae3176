import { setTimeout as sleep } from 'node:timers/promises'
import { drizzle } from 'drizzle-orm/node-postgres'
import type pg from 'pg'
import postgres from 'postgres'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { isFailedBefore, PermanentError } from '../../src/core/errors.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { remember } from '../../src/idempotency/remember/index.ts'
import { retry } from '../../src/retry/retry.ts'
import {
  drizzleTransaction,
  migrate,
  postgresIdempotencyStore,
  postgresjsTransaction,
  transaction,
} from '../../src/stores/postgres/index.ts'
import { resultStoreContract } from '../../src/testing/contracts/result-store-contract.ts'
import { describeWith, postgres18Url, postgresUrl } from '../support/services.ts'
import { createTestPool, type TestPool } from '../support/test-pool.ts'

for (const [service, url] of [
  ['postgres', postgresUrl],
  ['postgres18', postgres18Url],
] as const)
  describeWith([service], `the result store contract, in ${service}`, () => {
    const create = async () => {
      const { pool, schema, dispose } = await createTestPool({ max: 4, connectionString: url() })
      await migrate(pool, { schema })
      const inTransaction = async (work: (tx: pg.PoolClient) => Promise<void>): Promise<void> => {
        const client = await pool.connect()
        try {
          await client.query('begin')
          await work(client)
          await client.query('commit')
        } catch (error) {
          await client.query('rollback')
          throw error
        } finally {
          client.release()
        }
      }
      const store = postgresIdempotencyStore(pool, { schema })
      return { store, advance: (ms: number) => sleep(ms), inTransaction, dispose }
    }
    for (const { name, run } of resultStoreContract(create)) it(name, run)
  })

interface Charge {
  readonly cents: number
}

describeWith(['postgres'], 'remember() in the transaction of the handler', () => {
  let db: TestPool
  beforeEach(async () => {
    db = await createTestPool({ max: 8 })
    await migrate(db.pool, { schema: db.schema })
    await db.pool.query(`create table ${db.schema}.charge (id text, cents int)`)
  })
  afterEach(() => db.dispose())

  const charges = async () => (await db.pool.query(`select id from ${db.schema}.charge order by id`)).rowCount
  const answersOf = () =>
    remember<Charge, { readonly charged: number }>({ store: postgresIdempotencyStore(db.pool, { schema: db.schema }) })

  function endpoint(work: (cents: number) => Promise<void> | void = () => {}) {
    const answers = answersOf()
    const payments = pipeline<Charge>('api.payments')
      .use(answers.stage)
      .use(retry({ maxAttempts: 2, backoff: { initialMs: 1 } }))
      .use(transaction<pg.PoolClient>(db.pool))
      .handle(
        answers.handler(async ({ message, tx }) => {
          await tx.query(`insert into ${db.schema}.charge values ($1, $2)`, [message.id, message.body.cents])
          await work(message.body.cents)
          return { charged: message.body.cents }
        }),
      )
    return (id: string, cents = 100) => answers.call(payments, { message: { id, body: { cents } } })
  }

  it('commits effect, result and completion together', async () => {
    const call = endpoint()
    expect(await call('a')).toEqual({ repeated: false, found: true, result: { charged: 100 } })
    expect(await call('a')).toEqual({ repeated: true, found: true, result: { charged: 100 } })
    expect(await charges()).toBe(1)
  })

  it('needs no write after the commit: a process that dies there has kept the result', async () => {
    const store = postgresIdempotencyStore(db.pool, { schema: db.schema })
    // What would be written after the commit never arrives.
    const dying = { ...store, keepResult: () => Promise.reject(new Error('the process is dead')) }
    const answers = remember<Charge, { readonly charged: number }>({ store: dying })
    const payments = pipeline<Charge>('api.payments')
      .use(answers.stage)
      .use(transaction<pg.PoolClient>(db.pool))
      .handle(answers.handler(({ message }) => ({ charged: message.body.cents })))
    const call = () => answers.call(payments, { message: { id: 'a', body: { cents: 7 } } })
    expect(await call()).toMatchObject({ repeated: false, result: { charged: 7 } })
    expect(await call()).toEqual({ repeated: true, found: true, result: { charged: 7 } })
  })

  it('of 20 callers at once one runs, and all get its result in the end', async () => {
    const call = endpoint(() => sleep(20))
    async function insistent(): Promise<unknown> {
      for (;;) {
        const answer = await call('a').catch(() => undefined)
        if (answer !== undefined) return answer
        await sleep(10)
      }
    }
    const answers = await Promise.all(Array.from({ length: 20 }, insistent))
    expect(answers.filter((answer) => !(answer as { repeated: boolean }).repeated)).toHaveLength(1)
    expect(answers.map((answer) => (answer as { result: unknown }).result)).toEqual(
      Array.from({ length: 20 }, () => ({ charged: 100 })),
    )
    expect(await charges()).toBe(1)
  })

  it('rolls the effect back and remembers the error, which is kept outside of the transaction', async () => {
    const call = endpoint(() => {
      throw new PermanentError('declined')
    })
    await expect(call('a')).rejects.toThrow('declined')
    const again = await call('a').catch((error: unknown) => error)
    expect(isFailedBefore(again) && again.failure.errorMessage).toBe('declined')
    expect(await charges()).toBe(0)
  })

  it('a completion whose transaction was rolled back leaves no result', async () => {
    let fails = true
    const call = endpoint(async () => {
      // Deferred constraints fail like this: at COMMIT, after the result was written.
      if (fails)
        await db.pool.query(
          'select pg_terminate_backend(pid) from pg_stat_activity where query like $1 and state = $2',
          [`insert into ${db.schema}.charge%`, 'idle in transaction'],
        )
      fails = false
    })
    // The second attempt has a session of its own, and its result is the one that is kept.
    const first = await call('a').catch(() => call('a'))
    expect(first).toMatchObject({ found: true, result: { charged: 100 } })
    expect(await call('a')).toMatchObject({ repeated: true, result: { charged: 100 } })
    expect(await charges()).toBe(1)
  })

  it.each(['drizzle', 'postgres.js'])('works in a transaction of %s', async (client) => {
    const answers = answersOf()
    const sql = postgres(db.url, { max: 2, onnotice: () => {}, connection: { search_path: `${db.schema},public` } })
    try {
      const builder = pipeline<Charge>('api.payments').use(answers.stage)
      const work = async ({ message }: { readonly message: { readonly body: Charge } }) => ({
        charged: message.body.cents,
      })
      const payments =
        client === 'drizzle'
          ? builder.use(drizzleTransaction(drizzle(db.pool))).handle(answers.handler(work))
          : builder.use(postgresjsTransaction(sql)).handle(answers.handler(work))
      const call = () => answers.call(payments, { message: { id: 'a', body: { cents: 5 } } })
      expect(await call()).toMatchObject({ repeated: false, result: { charged: 5 } })
      expect(await call()).toMatchObject({ repeated: true, result: { charged: 5 } })
    } finally {
      await sql.end()
    }
  })
})
