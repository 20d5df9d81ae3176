import { drizzle } from 'drizzle-orm/node-postgres'
import { Kysely, PostgresDialect } from 'kysely'
import { Pool, type PoolClient } from 'pg'
import postgres from 'postgres'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Clock } from '../../../src/core/clock.ts'
import type { Outgoing } from '../../../src/core/publisher.ts'
import { memoryIdempotencyStore } from '../../../src/idempotency/memory-store.ts'
import {
  deadLetter,
  idempotency,
  pipeline,
  retry,
  RetryLater,
  type Bytes,
  type Claimed,
  type Delivery,
  type Pipeline,
  type Transactional,
} from '../../../src/index.ts'
import {
  drizzleTransaction,
  inOneTransaction,
  kyselyTransaction,
  migrate,
  postgresIdempotencyStore,
  postgresjsTransaction,
  transaction,
  type TransactionMiddleware,
} from '../../../src/stores/postgres/index.ts'
import { parking, parkingWorker } from '../../../src/ordering/parking/index.ts'
import { describeWith, postgresUrl } from '../../support/services.ts'
import { createTestPool, type TestPool } from '../../support/test-pool.ts'

/** As in a process that died: no timer ever fires, so no lease is renewed. */
const stopped: Clock = { now: () => performance.now(), wall: () => Date.now(), after: () => () => undefined }

describeWith(['postgres'], 'idempotency({ claim: inside })', () => {
  let testPool: TestPool
  let dead: string[] = []
  const stages: Record<string, () => TransactionMiddleware<unknown>> = {}
  let sql: ReturnType<typeof postgres>
  beforeAll(async () => {
    testPool = await createTestPool({ max: 12 })
    const { pool, schema } = testPool
    await migrate(pool, { schema })
    await pool.query('create table effect (id text not null)')
    sql = postgres(postgresUrl(), { max: 4, onnotice: () => {}, connection: { search_path: schema } })
    const kysely = new Kysely<object>({ dialect: new PostgresDialect({ pool }) })
    Object.assign(stages, {
      pg: () => transaction(pool),
      'pg, prepared': () => transaction(pool, { prepared: true }),
      drizzle: () => drizzleTransaction(drizzle(pool)),
      kysely: () => kyselyTransaction(kysely),
      'postgres.js': () => postgresjsTransaction(sql),
    })
  })
  beforeEach(async () => {
    dead = []
    await testPool.pool.query(`truncate effect, ${testPool.schema}.idempotency`)
  })
  afterAll(async () => {
    await sql.end({ timeout: 0 })
    await testPool.dispose()
  })

  const store = () => postgresIdempotencyStore(testPool.pool, { schema: testPool.schema, inside: true })
  const deadLetters = {
    publish: (all: readonly Outgoing[]) => Promise.resolve(void dead.push(...all.map(({ id }) => id))),
  }
  const effects = async () =>
    (await testPool.pool.query<{ id: string; n: number }>('select id, count(*)::int as n from effect group by id')).rows
  const record = async (key: string) =>
    (
      await testPool.pool.query<{ state: string; attempts: number }>(
        `select state, attempts from ${testPool.schema}.idempotency where key = $1`,
        [key],
      )
    ).rows[0]

  /** The handler inserts its effect through the runner that every stage hands on. */
  function orders(
    stage: TransactionMiddleware<unknown>,
    handler: (delivery: Delivery & Claimed & Transactional<unknown>) => unknown = () => undefined,
  ): Pipeline {
    return pipeline('orders')
      .use(deadLetter({ to: deadLetters }))
      .use(idempotency({ store: store(), claim: 'inside' }))
      .use(retry({ maxAttempts: 3, backoff: { initialMs: 1 } }))
      .use(stage)
      .handle(async (delivery) => {
        await delivery.runner.query(`insert into ${testPool.schema}.effect values ($1)`, [delivery.message.id])
        await handler(delivery)
      })
  }
  const first = (id: string) => ({ message: { id, body: Buffer.from('{}') }, first: true })

  for (const name of ['pg', 'pg, prepared', 'drizzle', 'kysely', 'postgres.js'])
    describe(name, () => {
      const stage = (): TransactionMiddleware<unknown> => stages[name]?.() ?? expect.fail(name)

      it('writes one record, with the effects and seen by nobody before them', async () => {
        let fence = 0n
        const built = orders(stage(), async (delivery) => {
          ;({ fence } = delivery)
          expect(await record('a')).toBeUndefined()
        })
        expect(await built.dispatch(first('a'))).toBe('handled')
        expect(fence).toBeGreaterThan(0n)
        expect(await record('a')).toEqual({ state: 'completed', attempts: 1 })
        // Also where the transport is wrong about it.
        expect(await built.dispatch(first('a'))).toBe('duplicate')
        expect(await effects()).toEqual([{ id: 'a', n: 1 }])
      })

      it('tells a duplicate in flight at once that the key is in progress, in either mode', async () => {
        const { promise: running, resolve: started } = Promise.withResolvers<void>()
        const { promise: opened, resolve: open } = Promise.withResolvers<void>()
        const built = orders(stage(), () => (started(), opened))
        const one = built.dispatch(first('a'))
        await running
        for (const again of [first('a'), { ...first('a'), first: false }])
          await expect(built.dispatch(again)).rejects.toMatchObject({ code: 'retry-later', holds: 'lane' })
        open()
        expect(await one).toBe('handled')
        expect(await effects()).toEqual([{ id: 'a', n: 1 }])
      })

      it('counts a failure by the claim that comes late, and gives the message up', async () => {
        const built = orders(stage(), () => Promise.reject(new Error('no')))
        expect(await built.dispatch(first('a'))).toBe('dead-lettered')
        expect(await record('a')).toEqual({ state: 'failed', attempts: 3 })
        expect(await effects()).toEqual([])
        expect(await built.dispatch(first('a'))).toBe('dead-lettered')
        expect(dead).toEqual(['a', 'a'])
      })

      it('writes nothing for a RetryLater, and refuses for good what ended its transaction', async () => {
        const later = orders(stage(), () => Promise.reject(new RetryLater(5)))
        await expect(later.dispatch(first('a'))).rejects.toMatchObject({ code: 'retry-later' })
        expect(await record('a')).toBeUndefined()
        for (const verb of ['commit', 'rollback']) {
          const ends = orders(stage(), async (delivery) => {
            await delivery.runner.query(verb, [])
            throw new Error('after it')
          })
          expect(await ends.dispatch(first(verb))).toBe('dead-lettered')
        }
        expect(dead).toEqual(['commit', 'rollback'])
      })
    })

  it('prepares its statements once a connection, in either mode, and goes on after one of them has failed', async () => {
    const { schema, url } = testPool
    const single = new Pool({ connectionString: url, max: 1, options: `-c search_path=${schema},public` })
    try {
      const plain = orders(transaction(single))
      const fails = (id: string): boolean => id === 'a-3' || id === 'b-3'
      const prepared = orders(transaction(single, { prepared: true }), ({ runner, message: { id } }) =>
        fails(id) ? runner.query('select 1 / 0', []) : undefined,
      )
      const ours = async (): Promise<readonly number[]> => {
        const { rows } = await single.query<{ runs: number }>(
          `select (generic_plans + custom_plans)::int as runs from pg_prepared_statements
           where name like 'holdfast%' and statement like '%idempotency%' order by 1`,
        )
        return rows.map(({ runs }) => runs)
      }
      await plain.dispatch(first('plain'))
      expect(await ours()).toEqual([])
      // First deliveries claim and complete by one statement in each attempt, the others complete by another one in the last.
      for (let n = 0; n < 6; n++)
        for (const [key, isFirst] of [
          ['a', true],
          ['b', false],
        ] as const) {
          const id = `${key}-${n}`
          expect(await prepared.dispatch({ ...first(id), first: isFirst })).toBe(
            fails(id) ? 'dead-lettered' : 'handled',
          )
        }
      expect(await ours()).toEqual([5, 8])
      expect(await effects()).toHaveLength(11)
    } finally {
      await single.end()
    }
  })

  it.each(['repeatable read', 'serializable'])('does nothing twice under %s', async (level) => {
    const { schema, url } = testPool
    const options = `-c search_path=${schema},public -c default_transaction_isolation=${level.replace(' ', String.raw`\ `)}`
    const strict = new Pool({ connectionString: url, max: 12, options })
    try {
      const built = orders(transaction(strict), () => new Promise((resolve) => setTimeout(resolve, 2)))
      const settle = async (id: string): Promise<unknown> => {
        for (let tries = 0; tries < 50; tries++) {
          const outcome = await built.dispatch(first(id)).catch((error: unknown) => error)
          if (!(outcome instanceof Error)) return outcome
          await new Promise((resolve) => setTimeout(resolve, 5))
        }
        return 'never'
      }
      const outcomes = await Promise.all(Array.from({ length: 40 }, (_, n) => settle(`m-${n % 20}`)))
      expect(
        (await strict.query<{ level: string }>("select current_setting('transaction_isolation') as level")).rows,
      ).toEqual([{ level }])
      expect(outcomes.filter((outcome) => outcome === 'handled')).toHaveLength(20)
      expect((await effects()).filter(({ n }) => n !== 1)).toEqual([])
    } finally {
      await strict.end()
    }
  })

  it('handles one id once, though it stands in one batch several times, and the known ones leave the batch', async () => {
    const batches: string[][] = []
    const built = pipeline('orders')
      .use(idempotency({ store: store(), claim: 'inside' }))
      .handleBatch(
        { maxSize: 12, maxWaitMs: 50 },
        inOneTransaction<PoolClient, Delivery<Bytes> & Claimed>(transaction(testPool.pool), async (deliveries, tx) => {
          const ids = deliveries.map(({ message }) => message.id)
          batches.push(ids)
          await tx.query(`insert into ${testPool.schema}.effect select unnest($1::text[])`, [ids])
        }),
      )
    const deliver = (id: string) => built.dispatch(first(id)).catch((error: unknown) => error)
    expect(await deliver('known')).toBe('handled')
    const ids = ['a', 'b', 'a', 'known', 'c', 'b', 'a', 'd']
    const outcomes = await Promise.all(ids.map(deliver))
    expect(outcomes).toEqual([
      'handled',
      'handled',
      'duplicate',
      'duplicate',
      'handled',
      'duplicate',
      'duplicate',
      'handled',
    ])
    expect(batches).toEqual([['known'], ['a', 'b', 'c', 'd']])
    expect((await effects()).map(({ id, n }) => `${id}${n}`).sort()).toEqual(['a1', 'b1', 'c1', 'd1', 'known1'])
  })

  it('gives up a poison that kills the process: its first start counts nothing, the later ones are claimed before it', async () => {
    const { schema, url } = testPool
    // Its clients stay with handlers that never end, as with processes that died.
    const dying = new Pool({ connectionString: url, max: 4, options: `-c search_path=${schema},public` })
    dying.on('error', () => {})
    let starts = 0
    const built = pipeline('orders')
      .use(deadLetter({ to: deadLetters }))
      .use(idempotency({ store: store(), claim: 'inside', leaseMs: 100, clock: stopped }))
      .use(retry({ maxAttempts: 2 }))
      .use(transaction(dying))
      .handle(({ tx }) => {
        starts++
        tx.query('select pg_terminate_backend(pg_backend_pid())').catch(() => undefined)
        return new Promise<never>(() => {})
      })
    for (const [delivery, isFirst] of [true, false, false, false].entries()) {
      const outcome = built.dispatch({ ...first('poison'), first: isFirst }).catch((error: unknown) => error)
      const ended = await Promise.race([outcome, new Promise((resolve) => setTimeout(() => resolve('died'), 300))])
      expect(ended).toBe(delivery < 3 ? 'died' : 'dead-lettered')
    }
    expect([starts, dead]).toEqual([3, ['poison']])
  })

  it.each(['alone', 'in batches'])(
    'K-18 passes no parked key, %s: what comes later waits behind it, in order',
    async (how) => {
      const { pool } = testPool
      const handled: string[] = []
      const state = { isMissing: true }
      const work = async (id: string, tx: PoolClient): Promise<void> => {
        await tx.query('insert into effect (id) values ($1)', [id])
        if (id === 'p1' && state.isMissing) throw new RetryLater(2_000)
        handled.push(id)
      }
      /** As in another process: it knows of no lane. */
      const member = () => {
        const kept = store()
        const claimed = pipeline('parks')
          .use(deadLetter({ to: deadLetters }))
          .use(parking({ store: kept }))
          .use(idempotency({ store: kept, claim: 'inside' }))
          .use(retry())
        const built =
          how === 'alone'
            ? claimed.use(transaction(pool)).handle(({ message, tx }) => work(message.id, tx))
            : claimed.handleBatch(
                { maxSize: 8 },
                inOneTransaction<PoolClient, Delivery<Bytes> & Claimed>(transaction(pool), async (all, tx) => {
                  for (const { message } of all) await work(message.id, tx)
                }),
              )
        const send = (id: string, key = 'A') =>
          built.dispatch({
            message: { id, key, body: null },
            origin: { destination: 'topic', position: id },
            first: true,
          })
        return { built, kept, send }
      }
      const [one, other] = [member(), member()]
      expect(await one.send('p0')).toBe('handled')
      expect(await record('p0')).toMatchObject({ state: 'completed', attempts: 1 })
      expect(await one.send('p1')).toBe('parked')
      expect(await Promise.all([other.send('p2'), other.send('b1', 'B')])).toEqual(['parked', 'handled'])
      expect(await one.send('p3')).toBe('parked')
      expect(await effects()).toHaveLength(2)
      state.isMissing = false
      const stop = new AbortController()
      const working = parkingWorker({ store: other.kept, pipelines: [other.built], pollMs: 50 }).run(stop.signal)
      await expect.poll(() => handled, { timeout: 15_000 }).toEqual(['p0', 'b1', 'p1', 'p2', 'p3'])
      await expect.poll(() => one.kept.countLanes('parks', 9)).toBe(0)
      stop.abort()
      await working
      expect((await effects()).map(({ id, n }) => `${id}${n}`).sort()).toEqual(['b11', 'p01', 'p11', 'p21', 'p31'])
      expect(dead).toEqual([])
    },
  )

  it('says in describe() what it does, and refuses what it cannot', () => {
    const { pool } = testPool
    expect(String(orders(transaction(pool)).describe())).toMatch(
      /claim inside[^]*first deliveries are claimed inside it/,
    )
    expect(() => idempotency({ store: memoryIdempotencyStore(), claim: 'inside' })).toThrow(
      "idempotency: claim must be 'outside' for a store that was not made with { inside: true }, got 'inside'",
    )
    expect(() => idempotency({ store: store(), claim: 'inside', mode: 'observe' })).toThrow(
      "'outside' in mode 'observe'",
    )
  })

  it('is refused when it is built where no stage inside opens a transaction, and at the first message of a batch', async () => {
    const claiming = pipeline('orders').use(idempotency({ store: store(), claim: 'inside' }))
    expect(() => claiming.use(retry()).handle(() => {})).toThrow(
      "idempotency: claim must be 'outside' without transaction() inside, got 'inside'",
    )
    const batch = claiming.handleBatch({ maxSize: 2 }, () => Promise.resolve())
    await expect(batch.dispatch(first('a'))).rejects.toMatchObject({ code: 'bad-order' })
  })
})
