import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import postgres from 'postgres'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { PermanentError } from '../../../src/core/errors.ts'
import type { ClaimResult } from '../../../src/idempotency/store.ts'
import {
  migrate,
  postgresIdempotencyCleaner,
  postgresIdempotencyStore,
  postgresjsRunner,
  preparedRunner,
} from '../../../src/stores/postgres/index.ts'
import { idempotencyStoreContract } from '../../../src/testing/contracts/idempotency-store-contract.ts'
import { faultProxy, through } from '../../support/fault-proxy.ts'
import { privatePostgres } from '../../support/private-servers.ts'
import { describeWith, postgresUrl, uniqueName } from '../../support/services.ts'
import { suiteSchema } from '../../support/suite-schema.ts'
import { createTestPool, type TestPool } from '../../support/test-pool.ts'
import { ask, day, hold } from '../claims.ts'

const advance = (ms: number) => sleep(ms)
const nothing = async () => {}

describeWith(['postgres'], 'the idempotency store contract, in PostgreSQL through node-postgres', () => {
  const emptied = suiteSchema({ max: 4 })
  const create = async () => {
    const { pool, schema } = await emptied()
    return { store: postgresIdempotencyStore(pool, { schema }), advance, dispose: nothing }
  }
  for (const { name, run } of idempotencyStoreContract(create)) it(name, run)
})

describeWith(['postgres'], 'the idempotency store contract, in PostgreSQL beside claims inside transactions', () => {
  const emptied = suiteSchema({ max: 4 })
  const create = async () => {
    const { pool, schema } = await emptied()
    return { store: postgresIdempotencyStore(pool, { schema, inside: true }), advance, dispose: nothing }
  }
  for (const { name, run } of idempotencyStoreContract(create)) it(name, run)
})

describeWith(['postgres'], 'the idempotency store contract, in PostgreSQL through prepared statements', () => {
  const emptied = suiteSchema({ max: 4 })
  const create = async () => {
    const { pool, schema } = await emptied()
    return { store: postgresIdempotencyStore(preparedRunner(pool), { schema }), advance, dispose: nothing }
  }
  for (const { name, run } of idempotencyStoreContract(create)) it(name, run)

  it('parses a claim once a connection, and finds its keys by their index in a large table ever after', async () => {
    const { pool, schema, dispose } = await createTestPool({ max: 1 })
    try {
      await migrate(pool, { schema })
      await pool.query(
        `insert into ${schema}.idempotency (scope, key, state, token, attempts, owner, lease_until)
         select 's', 'k' || n, 'in-progress', n, 1, 'o', now() + interval '1 hour' from generate_series(1, 20000) n`,
      )
      const wholeScans = async () => {
        await pool.query('select pg_stat_force_next_flush()')
        const { rows } = await pool.query<{ scans: string }>(
          `select pg_stat_get_numscans('${schema}.idempotency'::regclass) as scans`,
        )
        return rows
      }
      const before = await wholeScans()
      const store = postgresIdempotencyStore(preparedRunner(pool), { schema })
      for (let n = 0; n < 12; n++) expect((await store.claim(ask(`k${n + 1}`))).state).toBe('in-progress')
      const { rows } = await pool.query("select name from pg_prepared_statements where statement like '%asked%'")
      expect(rows).toHaveLength(1)
      expect(await wholeScans()).toEqual(before)
    } finally {
      await dispose()
    }
  })
})

for (const [title, options] of Object.entries({
  'postgres.js': {},
  'postgres.js that knows no array types': { fetch_types: false },
  'postgres.js in camel case': { transform: postgres.camel },
  'postgres.js with Pascal case and nothing prepared': {
    transform: { column: { from: postgres.toPascal } },
    fetch_types: false,
    prepare: false,
  },
}))
  describeWith(['postgres'], `the idempotency store contract, in PostgreSQL through ${title}`, () => {
    const emptied = suiteSchema({ max: 4 })
    const create = async () => {
      const { schema } = await emptied()
      const sql = postgres(postgresUrl(), { max: 2, onnotice: () => {}, ...options })
      const store = postgresIdempotencyStore(postgresjsRunner(sql), { schema, maxBatch: 50 })
      return { store, advance, dispose: () => sql.end() }
    }
    for (const { name, run } of idempotencyStoreContract(create)) it(name, run)
  })

describeWith(['postgres'], 'the idempotency store contract, in PostgreSQL through a pool that parses nothing', () => {
  const types = { getTypeParser: () => String } as unknown as pg.CustomTypesConfig
  const emptied = suiteSchema({ max: 4, types })
  const create = async () => {
    const { pool, schema } = await emptied()
    return { store: postgresIdempotencyStore(pool, { schema }), advance, dispose: nothing }
  }
  for (const { name, run } of idempotencyStoreContract(create)) it(name, run)
})

describeWith(['postgres'], 'a key that PostgreSQL cannot keep', () => {
  it('is its message`s own fault, and its company in the batch is claimed', async () => {
    const database = uniqueName('latin')
    const { pool: admin, dispose } = await createTestPool({ max: 1 })
    await admin.query(`create database ${database} encoding 'LATIN1' locale 'C' template template0`)
    const url = new URL(postgresUrl())
    url.pathname = `/${database}`
    const pool = new pg.Pool({ connectionString: String(url), max: 2 })
    try {
      await migrate(pool)
      const store = postgresIdempotencyStore(pool)
      const keys = ['a', '漢', 'ü', 'x'.repeat(2000)]
      const answers = await Promise.allSettled(keys.map((key) => store.claim(ask(key))))
      expect(
        answers.map((answer) =>
          answer.status === 'fulfilled' ? answer.value.state : (answer.reason as PermanentError).code,
        ),
      ).toEqual(['claimed', 'permanent', 'claimed', 'permanent'])
    } finally {
      await pool.end()
      await admin.query(`drop database ${database}`)
      await dispose()
    }
  })
})

describeWith(['postgres'], 'postgresIdempotencyStore()', () => {
  let testPool: TestPool
  let pool: pg.Pool
  let schema: string
  let table: string
  beforeAll(async () => {
    testPool = await createTestPool({ max: 30 })
    ;({ pool, schema } = testPool)
    table = `${schema}.idempotency`
    await migrate(pool, { schema })
  })
  afterAll(() => testPool.dispose())
  const open = (options = {}) => postgresIdempotencyStore(pool, { schema, ...options })

  /** Begins what the rival does, starts the claim, waits until it waits, and lets the rival end. */
  async function race(first: string, claim: () => Promise<ClaimResult>, ...then: string[]): Promise<ClaimResult> {
    const rival = await pool.connect()
    await rival.query('begin')
    await rival.query(first)
    const answer = claim()
    await waitFor(async () => {
      const { rowCount } = await pool.query(
        `select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%${schema}%'`,
      )
      return rowCount === 1
    })
    for (const text of then) await rival.query(text)
    rival.release()
    return answer
  }

  it('I-2 answers what another session inserts meanwhile, whether that commits or not', async () => {
    const store = open({ lockTimeoutMs: 30_000 })
    const insert = (key: string, state: string) =>
      `insert into ${table} (scope, key, state, token, attempts, owner, lease_until, retain_until)
       values ('s', '${key}', '${state}', nextval('${schema}.fence'), 1, 'rival', clock_timestamp() + interval '1 h', clock_timestamp() + interval '1 h')`
    const cases = [
      ['completed', 'commit', 'completed'],
      ['in-progress', 'commit', 'in-progress'],
      ['in-progress', 'rollback', 'claimed'],
    ] as const
    for (const [state, end, expected] of cases) {
      const key = `i-2-${state}-${end}`
      const answer = await race(insert(key, state), () => store.claim(ask(key)), end)
      expect(answer.state).toBe(expected)
      if (answer.state === 'in-progress') expect(answer.retryAfterMs).toBeGreaterThan(60_000)
    }
  })

  it('I-7 draws the token of a takeover under the lock of the row, so that it is the highest', async () => {
    const store = open({ lockTimeoutMs: 30_000 })
    await store.release(await hold(store, ask('i-7-lock')), 1)
    const answer = await race(
      `select 1 from ${table} where key = 'i-7-lock' for update`,
      () => store.claim(ask('i-7-lock')),
      `update ${table} set token = nextval('${schema}.fence') where key = 'i-7-lock'`,
      'commit',
    )
    const { rows } = await pool.query<{ last: string }>(`select last_value::text as last from ${schema}.fence`)
    expect(answer).toMatchObject({ state: 'claimed', token: BigInt(rows[0]?.last ?? 0) })
  })

  it('I-3 says in progress where another transaction has the row locked, and nobody else waits for that', async () => {
    const store = open({ lockTimeoutMs: 50 })
    const held = await hold(store, ask('i-3'))
    const rival = await pool.connect()
    await rival.query('begin')
    expect(await store.completeIn(rival, held, day)).toBe('ok')
    const answers = await Promise.all(['i-3', 'i-3-a', 'i-3-b'].map((key) => store.claim(ask(key))))
    expect(answers.map(({ state }) => state)).toEqual(['in-progress', 'claimed', 'claimed'])
    await rival.query('commit')
    rival.release()
    expect((await store.claim(ask('i-3'))).state).toBe('completed')
  })

  it('I-5 claims where the database is repeatable read by default, however many contend', async () => {
    const contending = new pg.Pool({
      connectionString: testPool.url,
      max: 20,
      options: '-c default_transaction_isolation=repeatable\\ read',
    })
    const stores = Array.from({ length: 10 }, () => postgresIdempotencyStore(contending, { schema, maxInFlight: 2 }))
    for (let round = 0; round < 10; round++) {
      const claims = stores.flatMap((store) => [1, 2].map((nth) => store.claim(ask(`i-5-${round}-${nth}`))))
      const states = (await Promise.all(claims)).map(({ state }) => state)
      expect(states.filter((state) => state === 'claimed')).toHaveLength(2)
      expect(states.filter((state) => state === 'in-progress')).toHaveLength(18)
    }
    await contending.end()
  })

  it('locks the keys of batches in one order, so that they do not deadlock', async () => {
    let deadlocks = 0
    const counting = {
      query: (text: string, values: unknown[]) =>
        pool.query(text, values).catch((error: unknown) => {
          if (error instanceof pg.DatabaseError && error.code === '40P01') deadlocks++
          throw error
        }),
    }
    const keys = Array.from({ length: 200 }, (_, at) => `order-${at}`)
    const stores = Array.from({ length: 4 }, () =>
      postgresIdempotencyStore(counting, { schema, lockTimeoutMs: 30_000 }),
    )
    for (let round = 0; round < 10; round++) {
      const answers = await Promise.all(
        stores.flatMap((store, nth) =>
          (nth % 2 === 0 ? keys : keys.toReversed()).map(async (key) => {
            const answer = await store.claim(ask(key))
            return answer.state === 'claimed' ? [{ store, held: { scope: 's', key, token: answer.token } }] : []
          }),
        ),
      )
      const held = answers.flat()
      expect(held).toHaveLength(keys.length)
      const released = await Promise.all(held.map(({ store, held }) => store.release(held, 1)))
      expect(new Set(released)).toEqual(new Set(['ok']))
    }
    expect(deadlocks).toBe(0)
  })

  it('I-7 gives a target that refuses lower fences what it needs to keep zombies out', async () => {
    const store = open()
    const resource = { fence: 0n, writes: [] as string[] }
    const write = (fence: bigint, by: string) => {
      if (fence < resource.fence) return
      resource.fence = fence
      resource.writes.push(by)
    }
    const first = await hold(store, ask('i-7', { leaseMs: 1 }))
    await sleep(20)
    const second = await hold(store, ask('i-7'))
    write(second.token, 'second')
    write(first.token, 'the zombie')
    expect(resource.writes).toEqual(['second'])
  })

  it('I-11 takes the time of the statement, not that of the transaction around it', async () => {
    const store = open()
    const held = await hold(store, ask('i-11'))
    const tx = await pool.connect()
    await tx.query('begin')
    await tx.query('select pg_sleep(0.3)')
    expect(await store.completeIn(tx, held, 60_000)).toBe('ok')
    const { rows } = await tx.query<{ late: boolean }>(
      `select retain_until > now() + interval '60.2 s' as late from ${table} where key = 'i-11'`,
    )
    expect(rows).toEqual([{ late: true }])
    await tx.query('commit')
    tx.release()
  })

  it('I-13 gives the key back where the answer to the claim was lost', async () => {
    const proxy = await faultProxy(testPool.url)
    const behind = new pg.Pool({ connectionString: through(proxy, testPool.url), max: 1 })
    behind.on('error', () => {})
    const store = postgresIdempotencyStore(behind, { schema })
    await behind.query('select 1')
    proxy.dropReplies()
    const request = ask('i-13')
    const lost = store.claim(request).catch((error: unknown) => error)
    await waitFor(async () => (await pool.query(`select 1 from ${table} where key = 'i-13'`)).rowCount === 1)
    proxy.cut()
    expect(await lost).toBeInstanceOf(Error)
    proxy.restore()
    expect((await hold(store, request)).attempts).toBe(1)
    expect((await store.claim(ask('i-13'))).state).toBe('in-progress')
    await behind.end()
    await proxy.dispose()
  })

  it('I-19 leaves one effect a key, however many zombies there are', async () => {
    await pool.query(`create table ${schema}.effect (key text not null)`)
    const store = open()
    const keys = Array.from({ length: 100 }, (_, at) => `i-19-${at}`)
    let rolledBack = 0
    /** Half of the workers sleep past their lease between the effect and its completion. */
    async function work(key: string, worker: number): Promise<void> {
      for (;;) {
        const answer = await store.claim(ask(key, { leaseMs: 40 }))
        if (answer.state === 'completed') return
        if (answer.state !== 'claimed') {
          await sleep(20)
          continue
        }
        const tx = await pool.connect()
        try {
          await tx.query('begin')
          await tx.query(`insert into ${schema}.effect values ($1)`, [key])
          if (worker === 0 && answer.attempts === 1) await sleep(100)
          const completed = await store.completeIn(tx, { scope: 's', key, token: answer.token }, day)
          await tx.query(completed === 'ok' ? 'commit' : 'rollback')
          if (completed === 'lost') rolledBack++
        } finally {
          tx.release()
        }
      }
    }
    for (let from = 0; from < keys.length; from += 10)
      await Promise.all(keys.slice(from, from + 10).flatMap((key) => [work(key, 0), work(key, 1)]))
    const { rows } = await pool.query<{ effects: number; keys: number }>(
      `select count(*)::int as effects, count(distinct key)::int as keys from ${schema}.effect`,
    )
    expect(rows).toEqual([{ effects: 100, keys: 100 }])
    expect(rolledBack).toBeGreaterThan(0)
  })

  it('I-30 renews on a pool of its own while handlers have taken every connection of theirs', async () => {
    const handlers = new pg.Pool({ connectionString: testPool.url, max: 2 })
    const claims = new pg.Pool({ connectionString: testPool.url, max: 1 })
    const busy = await Promise.all([handlers.connect(), handlers.connect()])
    const own = postgresIdempotencyStore(claims, { schema })
    const shared = postgresIdempotencyStore(handlers, { schema })
    const held = await hold(own, ask('i-30'))
    const starved = shared.renew(held, 60_000)
    expect(await own.renew(held, 60_000)).toBe('ok')
    expect(await Promise.race([starved, sleep(100, 'still waiting')])).toBe('still waiting')
    for (const client of busy) client.release()
    expect(await starved).toBe('ok')
    await Promise.all([handlers.end(), claims.end()])
  })

  it('says what to do where the schema is missing, old, or not for this role', async () => {
    const missing = postgresIdempotencyStore(pool, { schema: 'no_such_schema' })
    await expect(missing.claim(ask('a'))).rejects.toMatchObject({
      code: 'bad-schema',
      message: expect.stringContaining('run migrate(pool) first') as unknown,
    })
    const old = await createTestPool()
    await migrate(old.pool, { schema: old.schema })
    await old.pool.query(`alter table ${old.schema}.idempotency drop column fingerprint`)
    await expect(postgresIdempotencyStore(old.pool, { schema: old.schema }).claim(ask('a'))).rejects.toMatchObject({
      code: 'bad-schema',
    })
    const stranger = `${old.schema}_stranger`
    await old.pool.query(`create role ${stranger} login`)
    const url = new URL(postgresUrl())
    url.username = stranger
    const theirs = new pg.Pool({ connectionString: url.href, max: 1 })
    await expect(postgresIdempotencyStore(theirs, { schema: old.schema }).claim(ask('a'))).rejects.toMatchObject({
      code: 'bad-schema',
      message: expect.stringContaining('lacks rights') as unknown,
    })
    await theirs.end()
    await old.pool.query(`drop role ${stranger}`)
    await old.dispose()
  })

  it('works for a role that has no more than the rights the documentation names', async () => {
    const role = `${schema}_worker`
    await pool.query(`create role ${role} login`)
    await pool.query(`grant usage on schema ${schema} to ${role};
      grant select, insert, update, delete on ${table} to ${role};
      grant select on ${schema}.parked to ${role};
      grant usage on sequence ${schema}.fence to ${role}`)
    const url = new URL(postgresUrl())
    url.username = role
    const worker = new pg.Pool({ connectionString: url.href, max: 2 })
    const store = postgresIdempotencyStore(worker, { schema })
    expect(await store.complete(await hold(store, ask('grants')), day)).toBe('ok')
    await postgresIdempotencyCleaner(worker, { schema }).clean()
    await worker.end()
    await pool.query(`drop owned by ${role}; drop role ${role}`)
  })

  it('refuses what it cannot keep, and names it', async () => {
    const store = open()
    await expect(store.claim(ask('a\0b'))).rejects.toThrow('postgresIdempotencyStore: a key must be well-formed text')
    await expect(store.claim(ask('a', { scope: 'ü'.repeat(1000) }))).rejects.toThrow('scope must be')
    expect(() => open({ maxBatch: 0 })).toThrow('postgresIdempotencyStore: maxBatch must be')
    expect(() => open({ lockTimeoutMs: Number.NaN })).toThrow('lockTimeoutMs must be')
  })

  it('I-23 completes and renews without touching an index', async () => {
    // One connection: a backend reports its own statistics when it is asked to, others when it suits them.
    const one = new pg.Pool({ connectionString: testPool.url, max: 1 })
    const store = postgresIdempotencyStore(one, { schema })
    const counts = async () => {
      await one.query('select pg_stat_force_next_flush()')
      const { rows } = await one.query<{ all: number; hot: number }>(
        `select n_tup_upd::int as "all", n_tup_hot_upd::int as hot from pg_stat_user_tables where relid = '${table}'::regclass`,
      )
      return rows[0] ?? { all: 0, hot: 0 }
    }
    const before = await counts()
    const keys = Array.from({ length: 2000 }, (_, at) => `i-23-${at}`)
    // In flight together as in a busy consumer, not all at once.
    for (let from = 0; from < keys.length; from += 250) {
      const held = await Promise.all(keys.slice(from, from + 250).map((key) => hold(store, ask(key))))
      await Promise.all(held.map((each) => store.complete(each, day)))
    }
    const after = await counts()
    expect(after.all - before.all).toBeGreaterThanOrEqual(2000)
    expect((after.hot - before.hot) / (after.all - before.all)).toBeGreaterThan(0.95)
    await one.end()
  })
})

describeWith(['postgres'], 'postgresIdempotencyCleaner()', () => {
  it('I-23 deletes whole days that are over, in small statements, and nothing else', async () => {
    const { pool, schema, dispose } = await createTestPool()
    await migrate(pool, { schema })
    const store = postgresIdempotencyStore(pool, { schema })
    const table = `${schema}.idempotency`
    const complete = async (key: string) => store.complete(await hold(store, ask(key)), day)
    await Promise.all(Array.from({ length: 250 }, (_, at) => complete(`over-${at}`)))
    await hold(store, ask('abandoned'))
    await store.release(await hold(store, ask('released')), 1)
    const age = `added_on = added_on - 40, retain_until = retain_until - interval '40 d', lease_until = lease_until - interval '40 d'`
    await pool.query(`update ${table} set ${age}`)
    await complete('fresh')
    await complete('long')
    await pool.query(`update ${table} set added_on = added_on - 40 where key = 'long'`)
    await hold(store, ask('running'))
    const cleaner = postgresIdempotencyCleaner(pool, { schema, batchSize: 100 })
    const cleaned = await Promise.all([cleaner.clean(), cleaner.clean()])
    expect(cleaned[0] + cleaned[1]).toBe(252)
    const { rows } = await pool.query(`select key from ${table} order by key`)
    expect(rows).toEqual([{ key: 'fresh' }, { key: 'long' }, { key: 'running' }])
    await dispose()
  })

  it('finds them by the day of the index', async () => {
    const { pool, schema, dispose } = await createTestPool({ max: 1 })
    await migrate(pool, { schema })
    await pool.query('set enable_seqscan = off')
    const explained: string[] = []
    const explaining = {
      async query(text: string, values: unknown[]) {
        const { rows } = await pool.query<Record<string, string>>(`explain ${text}`, values)
        explained.push(...rows.flatMap((row) => Object.values(row)))
        return { rows: [], rowCount: 0 }
      },
    }
    await postgresIdempotencyCleaner(explaining, { schema }).clean()
    expect(explained.join('\n')).toMatch(/Index Scan.* (using|on) idempotency_added_on/)
    expect(explained.join('\n')).toMatch(/Index Cond: \(added_on </)
    await dispose()
  })

  it('runs until it is told to stop, over an outage of the database', async () => {
    const proxy = await faultProxy(postgresUrl())
    const { pool, schema, dispose } = await createTestPool()
    await migrate(pool, { schema })
    const store = postgresIdempotencyStore(pool, { schema })
    const behind = new pg.Pool({ connectionString: through(proxy, postgresUrl()), max: 1 })
    behind.on('error', () => {})
    const stop = new AbortController()
    proxy.refuse()
    const running = postgresIdempotencyCleaner(behind, { schema, everyMs: 10 }).run(stop.signal)
    await store.complete(await hold(store, ask('over')), 1)
    await pool.query(`update ${schema}.idempotency set added_on = added_on - 40`)
    await sleep(50)
    proxy.restore()
    await waitFor(async () => (await pool.query(`select 1 from ${schema}.idempotency`)).rowCount === 0)
    stop.abort()
    await running
    await behind.end()
    await proxy.dispose()
    await dispose()
  })
})

describeWith([], 'postgresIdempotencyStore() over a restart', () => {
  it('rejects what was in flight, keeps what was claimed, and goes on', async () => {
    const server = await privatePostgres()
    const pool = new pg.Pool({ connectionString: server.url, max: 4 })
    pool.on('error', () => {})
    await migrate(pool)
    const store = postgresIdempotencyStore(pool)
    const kept = await hold(store, ask('kept'))
    const requests = Array.from({ length: 2000 }, (_, at) => ask(`key-${at}`))
    const inFlight = Promise.allSettled(requests.map((request) => store.claim(request)))
    await server.kill('SIGKILL')
    const settled = await inFlight
    await server.start()
    // The same claims, sent again: whatever the server kept of the first try is no rival.
    const again = await Promise.all(requests.map((request) => hold(store, request)))
    expect(new Set(again.map(({ attempts }) => attempts))).toEqual(new Set([1]))
    for (const [at, first] of settled.entries())
      if (first.status === 'fulfilled' && first.value.state === 'claimed')
        expect(again[at]?.token).toBe(first.value.token)
    expect(settled.some(({ status }) => status === 'rejected')).toBe(true)
    expect((await store.claim(ask('kept'))).state).toBe('in-progress')
    expect(await store.complete(kept, day)).toBe('ok')
    await pool.end()
    await server.dispose()
  })
})

async function waitFor(condition: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 2000; tries++) {
    if (await condition()) return
    await sleep(5)
  }
  throw new Error('it did not come to that')
}
