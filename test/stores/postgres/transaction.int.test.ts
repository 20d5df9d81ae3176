import { drizzle } from 'drizzle-orm/node-postgres'
import { drizzle as drizzleOnPostgresjs } from 'drizzle-orm/postgres-js'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import postgres from 'postgres'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { deadLetter } from '../../../src/dead-letter/dead-letter.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import {
  isHoldfastError,
  pipeline,
  retry,
  RetryLater,
  type Claimed,
  type Middleware,
  type StatementRunner,
} from '../../../src/index.ts'
import {
  drizzleTransaction,
  kyselyTransaction,
  migrate,
  postgresIdempotencyStore,
  postgresjsTransaction,
  transaction,
  type TransactionMiddleware,
} from '../../../src/stores/postgres/index.ts'
import { faultProxy, through, type FaultProxy } from '../../support/fault-proxy.ts'
import { privatePostgres } from '../../support/private-servers.ts'
import { describeWith, postgresUrl } from '../../support/services.ts'
import { createTestPool, type TestPool } from '../../support/test-pool.ts'

/** One client library: its stage, and how its `tx` runs a statement. */
interface Opened {
  readonly stage: TransactionMiddleware<unknown>
  run(tx: unknown, text: string): Promise<unknown>
  end(): Promise<void>
}
/** Hides the type of `tx`, so that all clients go through the same tests. */
function opened<Tx>(
  stage: TransactionMiddleware<Tx>,
  run: (tx: Tx, text: string) => Promise<unknown>,
  end: () => Promise<void>,
): Opened {
  return { stage, run: (tx, text) => run(tx as Tx, text), end }
}
function pgPool(url: string): pg.Pool {
  const pool = new pg.Pool({ connectionString: url, max: 2 })
  pool.on('error', () => {})
  // Drizzle and Kysely lend clients nobody listens to.
  pool.on('connect', (client) => client.on('error', () => {}))
  return pool
}
const quiet = { max: 2, onnotice: () => {}, connect_timeout: 5 }
const clients: Record<string, (url: string) => Opened> = {
  'node-postgres': (url) => {
    const pool = pgPool(url)
    return opened(
      transaction(pool),
      (tx, text) => tx.query(text),
      () => pool.end(),
    )
  },
  'postgres.js': (url) => {
    const sql = postgres(url, quiet)
    return opened(
      postgresjsTransaction(sql),
      async (tx, text) => await tx.unsafe(text),
      () => sql.end({ timeout: 0 }),
    )
  },
  'Drizzle on node-postgres': (url) => {
    const pool = pgPool(url)
    return opened(
      drizzleTransaction(drizzle(pool)),
      async (tx, text) => await tx.execute(text),
      () => pool.end(),
    )
  },
  'Drizzle on postgres.js': (url) => {
    const sql = postgres(url, quiet)
    return opened(
      drizzleTransaction(drizzleOnPostgresjs(sql)),
      async (tx, text) => await tx.execute(text),
      () => sql.end({ timeout: 0 }),
    )
  },
  Kysely: (url) => {
    const pool = pgPool(url)
    const db = new Kysely<object>({ dialect: new PostgresDialect({ pool }) })
    return opened(
      kyselyTransaction(db),
      (tx, sql) =>
        tx.executeQuery({
          sql,
          parameters: [],
          query: { kind: 'RawNode', sqlFragments: [sql], parameters: [] },
          queryId: { queryId: 'test' },
        }),
      () => db.destroy(),
    )
  },
}

/** Stands where idempotency() stands, with any completion. */
function claimedWith(completeIn: (tx: StatementRunner) => Promise<void>): Middleware<Claimed> {
  return (next) =>
    function claimed(delivery) {
      return next({ ...delivery, fence: 1n, claim: { completeIn } })
    }
}
const caught = (work: Promise<unknown>): Promise<unknown> => work.catch((error: unknown) => error)
const dispatch = { message: { id: 'm-1', body: null } }

for (const [name, open] of Object.entries(clients))
  describeWith(['postgres'], `a transaction of ${name}`, () => {
    let testPool: TestPool
    let proxy: FaultProxy
    let client: Opened
    let table: string
    beforeAll(async () => {
      testPool = await createTestPool()
      table = `${testPool.schema}.effect`
      await migrate(testPool.pool, { schema: testPool.schema })
      await testPool.pool.query(
        `create table ${table} (id text primary key, once text unique deferrable initially deferred)`,
      )
      proxy = await faultProxy(postgresUrl())
    })
    // What one test broke is no business of the next one.
    beforeEach(() => {
      client = open(through(proxy, postgresUrl()))
    })
    afterEach(async () => {
      proxy.restore()
      await client.end()
      await testPool.pool.query(`truncate ${table}, ${testPool.schema}.idempotency`)
    })
    afterAll(async () => {
      await proxy.dispose()
      await testPool.dispose()
    })

    const insert = (id: string, once = id) => `insert into ${table} values ('${id}', '${once}')`
    const effects = async () =>
      (await testPool.pool.query<{ id: string }>(`select id from ${table} order by id`)).rows.map(({ id }) => id)
    const store = () => postgresIdempotencyStore(testPool.pool, { schema: testPool.schema })
    const keyState = async () =>
      (await testPool.pool.query<{ state: string }>(`select state from ${testPool.schema}.idempotency`)).rows[0]?.state

    it('I-19 commits the effects and the completion of the claim together', async () => {
      const orders = pipeline('orders')
        .use(idempotency({ store: store() }))
        .use(client.stage)
        .handle(async ({ tx }) => {
          await client.run(tx, insert('a'))
          expect(await effects()).toEqual([])
          expect(await keyState()).toBe('in-progress')
        })
      expect(await orders.dispatch(dispatch)).toBe('handled')
      expect(await effects()).toEqual(['a'])
      expect(await keyState()).toBe('completed')
      expect(await orders.dispatch(dispatch)).toBe('duplicate')
    })

    it('rolls back what the handler did before it failed, and passes its error on', async () => {
      const failure = new Error('no such customer')
      const orders = pipeline('orders')
        .use(client.stage)
        .handle(async ({ tx }) => {
          await client.run(tx, insert('a'))
          throw failure
        })
      expect(await caught(orders.dispatch(dispatch))).toBe(failure)
      expect(await effects()).toEqual([])
    })

    it('I-4 refuses to ack a transaction that a swallowed error had aborted', async () => {
      for (const claimed of [false, true]) {
        const work = async ({ tx }: { readonly tx: unknown }): Promise<void> => {
          await client.run(tx, insert('a'))
          await client.run(tx, insert('a')).catch(() => undefined)
        }
        const orders = claimed
          ? pipeline('orders')
              .use(idempotency({ store: store() }))
              .use(client.stage)
              .handle(work)
          : pipeline('orders').use(client.stage).handle(work)
        const error = await caught(orders.dispatch(dispatch))
        expect(error).toMatchObject({ code: 'commit-refused' })
        expect(await effects()).toEqual([])
        if (claimed) expect(await keyState()).toBe('released')
      }
    })

    it('passes on what made the database refuse the COMMIT', async () => {
      await testPool.pool.query(insert('a', 'taken'))
      const orders = pipeline('orders')
        .use(client.stage)
        .handle(({ tx }) => client.run(tx, insert('b', 'taken')))
      const error = await caught(orders.dispatch(dispatch))
      expect(isHoldfastError(error)).toBe(false)
      expect(JSON.stringify([error, (error as Error).cause])).toContain('23505')
      expect(await effects()).toEqual(['a'])
    })

    it('I-29 holds the lane where the answer to COMMIT was lost: it has happened', async () => {
      const orders = pipeline('orders')
        .use(
          claimedWith(async (tx) => {
            await tx.query('select 1', [])
            proxy.dropReplies()
          }),
        )
        .use(client.stage)
        .handle(({ tx }) => client.run(tx, insert('a')))
      const error = caught(orders.dispatch(dispatch))
      while ((await effects()).length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
      proxy.cut()
      proxy.restore()
      // The database answers others: that counts, or a message whose COMMIT breaks every time would never be given up.
      expect(await error).toMatchObject({ code: 'retry-later', afterMs: 0, holds: 'lane', counts: true })
    })

    it('holds the pipeline where the connection breaks and no other can be had: an outage is no attempt', async () => {
      const orders = pipeline('orders')
        .use(client.stage)
        .handle(async ({ tx }) => {
          await client.run(tx, insert('a'))
          proxy.refuse()
          proxy.cut()
          await client.run(tx, insert('b'))
        })
      const down = { code: 'retry-later', afterMs: 1000, holds: 'pipeline', counts: false }
      expect(await caught(orders.dispatch(dispatch))).toMatchObject(down)
      expect(await caught(orders.dispatch(dispatch))).toMatchObject(down)
      expect(await effects()).toEqual([])
      proxy.restore()
      const works = pipeline('orders')
        .use(client.stage)
        .handle(({ tx }) => client.run(tx, insert('c')))
      expect(await works.dispatch(dispatch)).toBe('handled')
    })

    it('takes the loss of its session for the message`s own while the database answers others', async () => {
      for (const loses of [
        'select pg_terminate_backend(pg_backend_pid())',
        "set local idle_in_transaction_session_timeout = '20ms'",
      ]) {
        const work = async ({ tx }: { readonly tx: unknown }): Promise<void> => {
          await client.run(tx, loses)
          await new Promise((resolve) => setTimeout(resolve, 100))
          // postgres.js says by itself that the connection is gone; a query on it would end the process.
          if (!name.endsWith('postgres.js')) await client.run(tx, insert('a'))
        }
        const alone = pipeline('orders').use(client.stage).handle(work)
        // Nobody would try it again: it waits, alone, and the claim counts it.
        expect(await caught(alone.dispatch(dispatch))).toMatchObject({
          code: 'retry-later',
          holds: 'message',
          counts: true,
        })
        const seen: number[] = []
        const retried = pipeline('orders')
          .use(retry({ maxAttempts: 2, backoff: { initialMs: 1 } }))
          .use(client.stage)
          .handle((delivery) => {
            seen.push(delivery.attempt)
            return work(delivery)
          })
        expect(await caught(retried.dispatch(dispatch))).toMatchObject({ code: 'session-lost' })
        expect(seen).toEqual([1, 2])
      }
      expect(await effects()).toEqual([])
    })

    it('holds the pipeline where a writer has become read-only, and ends that connection', async () => {
      const { schema, pool } = testPool
      const role = `${schema}_demoted`
      const writes = (demoted: boolean) =>
        pool.query(`alter role ${role} set default_transaction_read_only = ${demoted}`)
      await pool.query(`create role ${role} login`)
      await pool.query(`grant all on schema ${schema} to ${role}; grant all on ${table} to ${role}`)
      await writes(true)
      const url = new URL(through(proxy, postgresUrl()))
      url.username = role
      const mine = open(String(url))
      try {
        const orders = pipeline('orders')
          .use(retry({ maxAttempts: 2 }))
          .use(mine.stage)
          .handle(({ tx }) => mine.run(tx, insert('a')))
        for (let n = 0; n < 3; n++)
          expect(await caught(orders.dispatch(dispatch))).toMatchObject({
            code: 'retry-later',
            holds: 'pipeline',
            counts: false,
          })
        await writes(false)
        let outcome: unknown
        for (let n = 0; n < 4 && outcome !== 'handled'; n++) outcome = await caught(orders.dispatch(dispatch))
        expect(outcome).toBe('handled')
      } finally {
        await mine.end()
        await pool.query(`drop owned by ${role}; drop role ${role}`)
      }
    })

    it('refuses for good what ended its transaction by itself, and completes no claim', async () => {
      for (const verb of ['rollback', 'commit'])
        for (const failing of [false, true])
          for (const claimed of [false, true]) {
            const work = async ({ tx }: { readonly tx: unknown }): Promise<void> => {
              await client.run(tx, insert(`${verb} ${String(failing)} ${String(claimed)}`))
              await client.run(tx, verb)
              if (failing) throw new Error('after it')
            }
            const dead: unknown[] = []
            const stack = pipeline('orders').use(
              deadLetter({ to: { publish: (messages) => Promise.resolve(void dead.push(...messages)) } }),
            )
            const orders = claimed
              ? stack
                  .use(idempotency({ store: store() }))
                  .use(retry({ maxAttempts: 3 }))
                  .use(client.stage)
                  .handle(work)
              : stack.use(client.stage).handle(work)
            const { message } = dispatch
            const id = `${verb} ${String(failing)} ${String(claimed)}`
            expect(await orders.dispatch({ message: { ...message, id } })).toBe('dead-lettered')
            expect(dead).toHaveLength(1)
            if (claimed) expect(await keyState()).toBe('failed')
            await testPool.pool.query(`truncate ${testPool.schema}.idempotency`)
          }
      // Committed by the handler itself, once each.
      expect(await effects()).toHaveLength(4)
    })

    it('holds the pipeline where the server cannot be reached', async () => {
      const orders = pipeline('orders')
        .use(client.stage)
        .handle(() => {})
      proxy.refuse()
      expect(await caught(orders.dispatch(dispatch))).toMatchObject({ code: 'retry-later', holds: 'pipeline' })
    })

    it('takes a refused connection to somebody else for what it is: a failure of the handler', async () => {
      const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
      const orders = pipeline('orders')
        .use(client.stage)
        .handle(async ({ tx }) => {
          await client.run(tx, insert('a'))
          throw new TypeError('fetch failed', { cause: refused })
        })
      expect(await caught(orders.dispatch(dispatch))).toBeInstanceOf(TypeError)
      expect(await effects()).toEqual([])
    })

    it('waits for the handler where the client gives up before it does', async () => {
      let running = false
      const orders = pipeline('orders')
        .use(client.stage)
        .handle(async ({ tx }) => {
          running = true
          await client.run(tx, insert('a'))
          proxy.cut()
          await new Promise((resolve) => setTimeout(resolve, 50))
          running = false
        })
      expect(await caught(orders.dispatch(dispatch))).toMatchObject({ code: 'retry-later' })
      expect(running).toBe(false)
    })

    it('rolls back what outlived its signal, and acks what was committed before', async () => {
      const stop = new AbortController()
      const late = pipeline('orders')
        .use(client.stage)
        .handle(async ({ tx }) => {
          await client.run(tx, insert('a'))
          stop.abort(new Error('lease lost'))
        })
      expect(await caught(late.dispatch({ ...dispatch, signal: stop.signal }))).toMatchObject({ message: 'lease lost' })
      expect(await effects()).toEqual([])
      const stopLater = new AbortController()
      const early = pipeline('orders')
        .use(claimedWith(() => Promise.resolve(stopLater.abort(new Error('too late')))))
        .use(client.stage)
        .handle(({ tx }) => client.run(tx, insert('a')))
      expect(await early.dispatch({ ...dispatch, signal: stopLater.signal })).toBe('handled')
      expect(await effects()).toEqual(['a'])
    })

    it('I-8 rolls back the work of a zombie whose key was taken over', async () => {
      const claims = store()
      const orders = pipeline('orders')
        .use(idempotency({ store: claims }))
        .use(client.stage)
        .handle(async ({ tx }) => {
          await client.run(tx, insert('a'))
          await testPool.pool.query(
            `update ${testPool.schema}.idempotency set lease_until = clock_timestamp() - interval '1 s'`,
          )
          const rival = await claims.claim({
            scope: 'orders',
            key: 'm-1',
            owner: 'rival',
            leaseMs: 60_000,
            fingerprint: null,
          })
          expect(rival.state).toBe('claimed')
        })
      expect(await caught(orders.dispatch(dispatch))).toMatchObject({ code: 'retry-later', holds: 'lane' })
      expect(await effects()).toEqual([])
      expect(await keyState()).toBe('in-progress')
    })
  })

describe('the stage', () => {
  const pool = new pg.Pool({ max: 7 })

  it('says how many transactions it can open, and stands inside what must outlive one', () => {
    expect(transaction(pool).stage?.facts).toEqual({ database: 'postgresql', poolSize: 7 })
    expect(() =>
      pipeline('x')
        .use(transaction(pool))
        .use(transaction(pool))
        .handle(() => {}),
    ).toThrow('x: there are two transaction stages')
    const store = postgresIdempotencyStore(pool)
    expect(() =>
      pipeline('x')
        .use(transaction(pool))
        .use(idempotency({ store }))
        .handle(() => {}),
    ).toThrow('idempotency')
  })

  it('refuses what is no pool', () => {
    expect(() => transaction({} as pg.Pool)).toThrow(
      'transaction: pool must be an object with connect(), got an object',
    )
  })
})

describeWith([], 'a transaction over a restart of PostgreSQL', () => {
  it('hands everything in flight back as an outage, and goes on when the server is there again', async () => {
    const server = await privatePostgres()
    const pool = pgPool(server.url)
    await pool.query('create table effect (id text primary key)')
    await migrate(pool)
    const claims = new pg.Pool({ connectionString: server.url, max: 2 })
    claims.on('error', () => {})
    let release = (): void => undefined
    const opened = new Promise<void>((resolve) => (release = resolve))
    let started = 0
    const orders = pipeline('orders')
      .use(idempotency({ store: postgresIdempotencyStore(claims), leaseMs: 1000 }))
      .use(transaction(pool))
      .handle(async ({ tx, message }) => {
        started++
        await tx.query('insert into effect values ($1)', [message.id])
        await opened
        await tx.query('select 1')
      })
    const deliver = (id: string) => orders.dispatch({ message: { id, body: null } })
    const inFlight = ['a', 'b'].map((id) => caught(deliver(id)))
    while (started < 2) await new Promise((resolve) => setTimeout(resolve, 5))
    await server.kill('SIGKILL')
    release()
    for (const error of await Promise.all(inFlight)) expect(error).toBeInstanceOf(RetryLater)
    expect(await caught(deliver('c'))).toMatchObject({ holds: 'pipeline' })
    await server.start()
    for (const id of ['a', 'b', 'c']) {
      let outcome: unknown
      for (let tries = 0; outcome !== 'handled' && tries < 300; tries++) {
        outcome = await caught(deliver(id))
        if (outcome !== 'handled') {
          expect(outcome).toBeInstanceOf(RetryLater)
          await new Promise((resolve) => setTimeout(resolve, 20))
        }
      }
      expect(outcome).toBe('handled')
    }
    const { rows } = await pool.query('select id from effect order by id')
    expect(rows).toEqual([{ id: 'a' }, { id: 'b' }, { id: 'c' }])
    await Promise.all([pool.end(), claims.end()])
    await server.dispose()
  })
})
