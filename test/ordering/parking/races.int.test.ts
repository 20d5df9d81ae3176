import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, it } from 'vitest'
import { PermanentError, RetryLater } from '../../../src/core/errors.ts'
import { parkingWorker } from '../../../src/ordering/parking/worker.ts'
import { parkingStatements } from '../../../src/stores/postgres/parking/statements.ts'
import { postgresIdempotencyCleaner } from '../../../src/stores/postgres/index.ts'
import { describeWith } from '../../support/services.ts'
import { realWorld, type RealWorld } from './real.ts'

describeWith(['postgres'], 'races of parking in PostgreSQL', () => {
  let world: RealWorld
  afterEach(() => world.dispose())

  /** Each key in order, one message at a time, and again after a nack: what a consumer does. */
  async function consume(keys: number, messages: number): Promise<void> {
    await Promise.all(
      Array.from({ length: keys }, async (_, key) => {
        for (let n = 0; n < messages; n++)
          for (;;)
            try {
              await world.send(`${key}-${String(n).padStart(4, '0')}`, `key-${key}`)
              break
            } catch (error) {
              await sleep(error instanceof RetryLater ? Math.min(error.afterMs, 50) : 10)
            }
      }),
    )
  }

  async function account(keys: number, messages: number) {
    const effects = await world.effects()
    const times = new Map<string, number>()
    for (const id of effects) times.set(id, (times.get(id) ?? 0) + 1)
    const disordered = Array.from({ length: keys }, (_, key) =>
      effects.filter((id) => id.startsWith(`${key}-`)),
    ).filter((ids) => ids.join() !== ids.toSorted().join())
    const { rows } = await world.pool.query<{ orphans: number }>(
      `select count(*)::int as orphans from ${world.schema}.parked p where not exists (select from ${world.schema}.parked_lane l where l.pipeline = p.pipeline and l.lane = p.lane)`,
    )
    const doubled = [...times.values()].filter((n) => n > 1).length
    return { lost: keys * messages - times.size, doubled, disordered: disordered.length, orphans: rows[0]?.orphans }
  }

  it.each<[title: string, isolation: string]>([
    ['as it is', 'read committed'],
    ['P-2 where the database begins at REPEATABLE READ', 'repeatable read'],
  ])('P-1 P-3 P-9 parks, appends and frees in a tight loop without an orphan, %s', async (_, isolation) => {
    world = await realWorld({ parkAfterMs: 1 }, { max: 20 })
    if (isolation !== 'read committed')
      world.pool.on('connect', (client) => void client.query(`set default_transaction_isolation = '${isolation}'`))
    const [keys, messages] = [8, 60]
    const tries = new Map<string, number>()
    world.handler.now = ({ message }) => {
      const times = (tries.get(message.id) ?? 0) + 1
      tries.set(message.id, times)
      // Lanes are made and freed all the time: every third message waits for a moment.
      if (times === 1 && Number(message.id.split('-')[1]) % 3 === 0) throw new RetryLater(1)
    }
    const stop = new AbortController()
    const workers = Array.from({ length: 2 }, () =>
      parkingWorker({ store: world.store, pipelines: [world.orders], pollMs: 1, leaseMs: 10_000, pageSize: 3 }).run(
        stop.signal,
      ),
    )
    await consume(keys, messages)
    while (!(await world.isFree())) await sleep(20)
    stop.abort()
    await Promise.all(workers)
    expect(await account(keys, messages)).toEqual({ lost: 0, doubled: 0, disordered: 0, orphans: 0 })
  })

  it('P-8 appends to a lane while the transaction of its worker is open', async () => {
    world = await realWorld({ parkAfterMs: 500 })
    let tries = 0
    const running = Promise.withResolvers<void>()
    const appended = Promise.withResolvers<void>()
    world.handler.now = async ({ message, tx }) => {
      if (message.id !== '1') return
      if (++tries === 1) throw new RetryLater(500)
      await tx.query('insert into effect (id, key) values ($1, $2)', ['inside', 'A'])
      running.resolve()
      await appended.promise
    }
    expect(await world.send('1')).toBe('parked')
    const working = world.work(world.isFree)
    await running.promise
    expect(await world.send('2')).toBe('parked')
    appended.resolve()
    await working
    expect(await world.effects()).toEqual(['inside', '1', '2'])
  })

  it('P-6 leaves no claim in progress behind when the lane refuses one', async () => {
    world = await realWorld({ parkAfterMs: 500 })
    world.handler.now = () => {
      throw new RetryLater(60_000)
    }
    await world.send('1')
    await world.send('2')
    const { rows } = await world.pool.query<{ key: string; state: string }>(
      `select key, state from ${world.schema}.idempotency order by key`,
    )
    expect(rows).toEqual([{ key: '1', state: 'released' }])
  })

  it('P-10 finds lanes that are due by their index, however many are not', async () => {
    world = await realWorld()
    await world.pool.query(`insert into ${world.schema}.parked_lane (pipeline, lane, tail, next_at)
select 'orders', 'l' || n, 1, case when n % 1000 = 0 then now() - interval '1 s' else 'infinity' end from generate_series(1, 20000) n`)
    await world.pool.query(`analyze ${world.schema}.parked_lane`)
    const { claimLanesSql } = parkingStatements(world.schema)
    const { rows } = await world.pool.query<Record<'QUERY PLAN', string>>(`explain ${claimLanesSql}`, [
      'orders',
      16,
      'o',
      1000,
    ])
    const plan = rows.map((row) => row['QUERY PLAN']).join('\n')
    expect(plan).toContain("Index Cond: ((pipeline = 'orders'::text) AND (next_at <= statement_timestamp()))")
  })

  it('P-13 tells the dead letter of a message that died after its worker lost the lane', async () => {
    world = await realWorld({ parkAfterMs: 500, whenDead: 'block-key' })
    let tries = 0
    world.handler.now = async ({ message }) => {
      if (message.id !== '1') return
      if (++tries === 1) throw new RetryLater(500)
      // Another worker takes the lane over.
      await world.pool.query(
        `update ${world.schema}.parked_lane set token = nextval('${world.schema}.fence'), next_at = clock_timestamp() + interval '1 s'`,
      )
      throw new PermanentError('for good')
    }
    await world.send('1')
    await world.send('2')
    await world.work(world.isBlocked)
    expect(await world.letters.count({})).toBe(1)
    expect(await world.effects()).toEqual([])
  })

  it('P-15 keeps the record of what is parked, however old, and cleans up the others', async () => {
    world = await realWorld({ parkAfterMs: 500 })
    world.handler.now = ({ message }) => {
      if (message.id === 'parked') throw new RetryLater(60_000)
    }
    await world.send('parked')
    await world.send('done', 'B')
    await world.pool.query(
      `update ${world.schema}.idempotency set added_on = added_on - 60, lease_until = lease_until - interval '60 d', retain_until = retain_until - interval '60 d'`,
    )
    expect(await postgresIdempotencyCleaner(world.pool, { schema: world.schema }).clean()).toBe(1)
    const { rows } = await world.pool.query<{ key: string }>(`select key from ${world.schema}.idempotency`)
    expect(rows).toEqual([{ key: 'parked' }])
  })
})
