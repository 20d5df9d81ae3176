import { drizzle } from 'drizzle-orm/node-postgres'
import type { PoolClient } from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { pipeline, type Bytes, type Claimed, type Delivery } from '../../../src/index.ts'
import {
  drizzleTransaction,
  inOneTransaction,
  inTransaction,
  migrate,
  postgresIdempotencyStore,
  transaction,
  type TransactionMiddleware,
} from '../../../src/stores/postgres/index.ts'
import { describeWith } from '../../support/services.ts'
import { createTestPool, type TestPool } from '../../support/test-pool.ts'

describeWith(['postgres'], 'inOneTransaction()', () => {
  let testPool: TestPool
  beforeAll(async () => {
    testPool = await createTestPool({ max: 6 })
    await migrate(testPool.pool, { schema: testPool.schema })
    await testPool.pool.query('create table effect (id text primary key)')
  })
  afterAll(() => testPool.dispose())

  type Handle<Tx> = (ids: readonly string[], tx: Tx) => Promise<unknown>

  /** Dispatches all ids at once, as one batch, and answers how each ended and which batches there were. */
  async function batch<Tx>(stage: TransactionMiddleware<Tx>, ids: readonly string[], handle: Handle<Tx>) {
    const batches: string[][] = []
    const store = postgresIdempotencyStore(testPool.pool, { schema: testPool.schema })
    const orders = pipeline('orders')
      .use(idempotency({ store }))
      .handleBatch(
        { maxSize: ids.length, maxWaitMs: 1000 },
        inOneTransaction<Tx, Delivery<Bytes> & Claimed>(stage, (deliveries, tx) => {
          const handled = deliveries.map(({ message }) => message.id)
          batches.push(handled)
          return handle(handled, tx)
        }),
      )
    const dispatch = (id: string) => orders.dispatch({ message: { id, body: null } }).catch((error: unknown) => error)
    return { ended: await Promise.all(ids.map(dispatch)), batches, again: () => Promise.all(ids.map(dispatch)) }
  }
  const insert: Handle<{ query(text: string, values: unknown[]): Promise<unknown> }> = (ids, tx) =>
    tx.query('insert into effect select unnest($1::text[])', [ids])
  async function effects(prefix: string): Promise<string[]> {
    const { rows } = await testPool.pool.query<{ id: string }>('select id from effect where id like $1 order by id', [
      `${prefix}%`,
    ])
    return rows.map(({ id }) => id)
  }

  it('I-19 commits the effects of a batch together with its completions, in one statement each', async () => {
    const updates: string[] = []
    const { pool } = testPool
    const stage = inTransaction({
      async begin(work: (tx: PoolClient) => Promise<void>) {
        const client = await pool.connect()
        await client.query('begin')
        await work(client)
        await client.query('commit')
        client.release()
      },
      runnerOf: (tx) => ({
        query(text, values) {
          updates.push(text)
          return tx.query(text, values)
        },
      }),
    })
    const counted = await batch(stage, ['a-1', 'a-2', 'a-3'], insert)
    expect(counted.ended).toEqual(['handled', 'handled', 'handled'])
    expect(updates).toHaveLength(1)
    const { ended, batches, again } = await batch(transaction(pool), ['a-4', 'a-5', 'a-6'], insert)
    expect(ended).toEqual(['handled', 'handled', 'handled'])
    expect(batches).toHaveLength(1)
    expect(await effects('a-')).toEqual(['a-1', 'a-2', 'a-3', 'a-4', 'a-5', 'a-6'])
    expect(await again()).toEqual(['duplicate', 'duplicate', 'duplicate'])
  })

  it('fails the one message that is to blame, and commits the others', async () => {
    const { ended, batches } = await batch(transaction(testPool.pool), ['b-1', 'b-2', 'b-3'], async (ids, tx) => {
      await insert(ids, tx)
      if (ids.includes('b-2')) throw new Error('b-2 is poison')
    })
    expect(ended).toEqual(['handled', new Error('b-2 is poison'), 'handled'])
    expect(batches).toEqual([['b-1', 'b-2', 'b-3'], ['b-1'], ['b-2'], ['b-3']])
    expect(await effects('b-')).toEqual(['b-1', 'b-3'])
  })

  const takeOver = (id: string) =>
    testPool.pool.query(
      `update ${testPool.schema}.idempotency set token = nextval('${testPool.schema}.fence') where key = $1`,
      [id],
    )

  it('I-8 lets the one message go whose claim was taken over, and commits the others', async () => {
    const { ended } = await batch(transaction(testPool.pool), ['c-1', 'c-2', 'c-3'], async (ids, tx) => {
      if (ids.includes('c-2')) await takeOver('c-2')
      await insert(ids, tx)
    })
    expect(ended).toEqual(['handled', expect.objectContaining({ code: 'retry-later', holds: 'lane' }), 'handled'])
    expect(await effects('c-')).toEqual(['c-1', 'c-3'])
  })

  it('I-8 does so where the client tells how many rows changed, and not which', async () => {
    const stage = drizzleTransaction(drizzle(testPool.pool))
    const { ended } = await batch(stage, ['d-1', 'd-2', 'd-3'], async (ids, tx) => {
      if (ids.includes('d-2')) await takeOver('d-2')
      await tx.execute(`insert into effect values ${ids.map((id) => `('${id}')`).join(', ')}`)
    })
    expect(ended).toEqual(['handled', expect.objectContaining({ code: 'retry-later', holds: 'lane' }), 'handled'])
    expect(await effects('d-')).toEqual(['d-1', 'd-3'])
  })

  it('I-29 runs nothing again where the answer to COMMIT was lost: the next claims say whether it happened', async () => {
    const { pool } = testPool
    const stage = inTransaction({
      async begin(work: (tx: Parameters<typeof insert>[1]) => Promise<void>) {
        const client = await pool.connect()
        await client.query('begin')
        await work(client)
        await client.query('commit')
        client.release()
        throw new Error('Connection terminated unexpectedly')
      },
      runnerOf: (tx) => tx as typeof pool,
    })
    const { ended, batches, again } = await batch(stage, ['e-1', 'e-2'], insert)
    expect(ended).toEqual([1, 2].map(() => expect.objectContaining({ code: 'retry-later', holds: 'lane' }) as unknown))
    expect(batches).toHaveLength(1)
    expect(await again()).toEqual(['duplicate', 'duplicate'])
    expect(await effects('e-')).toEqual(['e-1', 'e-2'])
  })

  it('hands everything back while the database is down', async () => {
    const nowhere = inTransaction<Parameters<typeof insert>[1]>({
      begin: () => Promise.reject(new Error('connect ECONNREFUSED')),
      runnerOf: () => testPool.pool,
    })
    const { ended, batches } = await batch(nowhere, ['f-1', 'f-2'], insert)
    expect(ended).toEqual(
      [1, 2].map(() => expect.objectContaining({ code: 'retry-later', holds: 'pipeline' }) as unknown),
    )
    expect(batches).toEqual([])
  })
})
