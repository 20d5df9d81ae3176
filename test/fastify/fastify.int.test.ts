import { fastify, type FastifyInstance, type FastifyRequest } from 'fastify'
import type pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { inTransaction } from '../../src/fastify/index.ts'
import { postgresOutbox } from '../../src/stores/postgres/outbox/outbox.ts'
import { outboxDatabase, type OutboxDatabase } from '../outbox/support.ts'
import { describeWith, postgresUrl } from '../support/services.ts'

interface Order {
  readonly id: string
}

describeWith(['postgres'], 'inTransaction() in Fastify', () => {
  let db: OutboxDatabase
  let app: FastifyInstance
  beforeAll(async () => {
    db = await outboxDatabase(postgresUrl())
    await db.pool.query('create table placed (id text primary key)')
  })
  afterAll(() => db.dispose())
  beforeEach(async () => {
    app = fastify()
    await db.pool.query(`truncate placed, ${db.schema}.outbox`)
  })
  afterEach(async () => {
    await app.close()
    // Nothing was kept: neither a connection nor a transaction.
    expect(db.pool.idleCount).toBe(db.pool.totalCount)
    const { rows } = await db.pool.query(
      `select count(*)::int as open from pg_stat_activity where state like 'idle in transaction%' and datname = current_database() and pid <> pg_backend_pid() and query like '%placed%'`,
    )
    expect(rows).toEqual([{ open: 0 }])
  })

  async function place(tx: pg.PoolClient, { id }: Order): Promise<void> {
    await tx.query('insert into placed (id) values ($1)', [id])
    await postgresOutbox({ schema: db.schema }).add(tx, { destination: 'orders', key: id, body: Buffer.from(id) })
  }

  async function kept(): Promise<readonly number[]> {
    const { rows } = await db.pool.query<{ placed: number; outbox: number }>(
      `select (select count(*)::int from placed) as placed, (select count(*)::int from ${db.schema}.outbox) as outbox`,
    )
    return rows.flatMap(({ placed, outbox }) => [placed, outbox])
  }

  const order = (id = 'o-1') => app.inject({ method: 'POST', url: '/orders', payload: { id } })

  it('commits the effect and the message before the answer, whether it is returned or sent', async () => {
    const seen: unknown[] = []
    app.addHook('onSend', async () => {
      seen.push(await kept())
    })
    app.post<{ Body: Order }>(
      '/orders',
      inTransaction(db.pool, async (request, reply, tx) => {
        await place(tx, request.body)
        reply.code(201)
        return { placed: request.body.id }
      }),
    )
    app.post<{ Body: Order }>(
      '/sent',
      inTransaction(db.pool, async (request: FastifyRequest<{ Body: Order }>, reply, tx) => {
        await place(tx, request.body)
        return reply.code(202).header('x-a', 'b').send({ placed: request.body.id })
      }),
    )
    app.post<{ Body: Order }>(
      '/sent-not-returned',
      inTransaction(db.pool, async (request: FastifyRequest<{ Body: Order }>, reply, tx) => {
        reply.send({ placed: request.body.id })
        // Still inside the transaction, although the answer is said.
        await place(tx, request.body)
      }),
    )
    const returned = await order()
    expect([returned.statusCode, returned.json()]).toEqual([201, { placed: 'o-1' }])
    const sent = await app.inject({ method: 'POST', url: '/sent', payload: { id: 'o-2' } })
    expect([sent.statusCode, sent.headers['x-a'], sent.json()]).toEqual([202, 'b', { placed: 'o-2' }])
    const early = await app.inject({ method: 'POST', url: '/sent-not-returned', payload: { id: 'o-3' } })
    expect([early.statusCode, early.json()]).toEqual([200, { placed: 'o-3' }])
    expect(seen).toEqual([
      [1, 1],
      [2, 2],
      [3, 3],
    ])
  })

  it.each<[string, number, (reply: { code(status: number): { send(body: unknown): unknown } }) => unknown]>([
    [
      'a throw',
      500,
      () => {
        throw new Error('no stock')
      },
    ],
    ['an answer of 400 or above', 409, (reply) => (reply.code(409), { error: 'no stock' })],
    ['the same, sent', 409, (reply) => reply.code(409).send({ error: 'no stock' })],
    ['an error that is sent', 500, (reply) => reply.code(200).send(new Error('no stock'))],
  ])('rolls back after %s', async (_, status, end) => {
    app.post<{ Body: Order }>(
      '/orders',
      inTransaction(db.pool, async (request, reply, tx) => {
        await place(tx, request.body)
        return end(reply)
      }),
    )
    expect((await order()).statusCode).toBe(status)
    expect(await kept()).toEqual([0, 0])
  })

  it('answers with an error if the handler ignored a failed statement, and if its session is cut', async () => {
    app.post<{ Body: Order }>(
      '/orders',
      inTransaction(db.pool, async (request, _reply, tx) => {
        await place(tx, request.body)
        if (request.body.id === 'cut')
          await db.pool.query('select pg_terminate_backend($1)', [
            (await tx.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]?.pid,
          ])
        else await tx.query('insert into placed (id) values ($1)', [request.body.id]).catch(() => {})
        return { placed: request.body.id }
      }),
    )
    const ignored = await order()
    expect([ignored.statusCode, ignored.json<{ message: string }>().message]).toEqual([
      500,
      'the database answered ROLLBACK to COMMIT: a statement had failed',
    ])
    expect((await order('cut')).statusCode).toBe(500)
    expect(await kept()).toEqual([0, 0])
    expect((await order()).statusCode).toBe(500)
  })

  it('runs a handler for each request, each in a transaction of its own', async () => {
    app.post<{ Body: Order }>(
      '/orders',
      inTransaction(db.pool, async (request, _reply, tx) => {
        await place(tx, request.body)
        if (Number(request.body.id) % 3 === 0) throw new Error('every third')
        return {}
      }),
    )
    const answers = await Promise.all(Array.from({ length: 60 }, (_, at) => order(String(at))))
    expect(answers.filter(({ statusCode }) => statusCode === 200).length).toBe(40)
    expect(await kept()).toEqual([40, 40])
  })

  it('refuses a hijacked reply, which would be sent before the commit', async () => {
    app.post<{ Body: Order }>(
      '/orders',
      inTransaction(db.pool, async (request: FastifyRequest<{ Body: Order }>, reply, tx) => {
        await place(tx, request.body)
        Reflect.get(reply, 'hijack').call(reply)
      }),
    )
    const answer = await order()
    expect([answer.statusCode, answer.json<{ message: string }>().message]).toEqual([
      500,
      'inTransaction: a hijacked reply would be sent before the transaction commits',
    ])
    expect(await kept()).toEqual([0, 0])
  })

  it('refuses what is no pool', () => {
    expect(() => inTransaction({} as never, async () => {})).toThrow(/pool must be/)
    expect(() => inTransaction(db.pool, undefined as never)).toThrow(/handler must be/)
  })
})
