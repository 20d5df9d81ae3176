import type { Pool } from 'pg'
import { expect, it } from 'vitest'
import { idempotency, pipeline } from 'holdfast'
import { migrate, postgresIdempotencyStore, transaction } from 'holdfast/postgres'
import { explore, ResilienceError, simulate, type ExploreOptions, type Fault } from 'holdfast/testing'
import { describeWith } from '../support/services.ts'
import { createTestPool } from '../support/test-pool.ts'

const faults: readonly Fault[] = ['duplicate', 'crash', 'lose-reply', 'fail', 'rebalance']
const small = { messages: 2, keys: 1, partitions: 1, faults }

describeWith(['postgres'], 'simulate(pool)', () => {
  it('finds the select-then-insert that charges twice on a real database', { timeout: 120_000 }, async () => {
    const { pool, schema, dispose } = await createTestPool({ max: 10 })
    await pool.query(`create table ${schema}.done (run int, id text)`)
    const real = simulate(pool)
    const naive: ExploreOptions<{ charge(id: string): void }> = {
      ...small,
      faults: ['duplicate', 'rebalance', 'outlive'],
      effects: { charge: (_id: string) => {} },
      invariants: ['once'],
      pipeline: ({ run, effects, handler }) =>
        pipeline('naive').handle(
          handler(async ({ message: { id } }) => {
            const found = await real.query(`select 1 from ${schema}.done where run = $1 and id = $2`, [run, id])
            if (found.rowCount !== 0) return
            await effects.charge(id)
            await real.query(`insert into ${schema}.done values ($1, $2)`, [run, id])
          }),
        ),
    }
    const search = (): Promise<unknown> => explore({ ...naive, seeds: 300 }).catch((thrown: unknown) => thrown)
    let error = await search()
    // A statement of a busy database may take as long as a lock: then the schedule that broke it is another one next time.
    for (let again = 0; again < 3 && error instanceof ResilienceError && error.invariant === ''; again++)
      error = await search()
    expect(error).toBeInstanceOf(ResilienceError)
    expect(error).toMatchObject({ invariant: 'once' })
    const replay = error instanceof ResilienceError ? error.replay : ''
    const again = new Set<string>()
    for (let i = 0; i < 15; i++) await explore({ ...naive, replay }).catch((thrown: Error) => again.add(thrown.message))
    await dispose()
    // On a machine that is busy enough a statement takes as long as one that waits for a lock, and the story says so.
    expect([...again].filter((message) => !message.includes('blocks')).length).toBe(1)
  })

  it(
    'passes our stack, with the effects in the transaction that completes the claim',
    { timeout: 120_000 },
    async () => {
      const { pool, schema, dispose } = await createTestPool({ max: 10 })
      await migrate(pool, { schema })
      await pool.query(`create table ${schema}.orders (run int, id text)`)
      const real: Pool = simulate(pool)
      const { schedules } = await explore({
        ...small,
        seeds: 60,
        // Crashes leave leases that only real time ends.
        faults: ['duplicate', 'lose-reply', 'fail', 'rebalance'],
        invariants: ['once', 'acked-settled', 'key-order', 'no-start-after-abort'],
        pipeline: ({ run, clock, handler }) =>
          pipeline(`orders-${run}`)
            // Made for each process: what it keeps in memory must not outlive a crash.
            // Real time has to end a lease whose claim's answer was lost.
            .use(idempotency({ store: postgresIdempotencyStore(real, { schema }), clock, leaseMs: 200 }))
            .use(transaction(real))
            .handle(
              handler(async ({ message, tx }) => {
                await tx.query(`insert into ${schema}.orders values ($1, $2)`, [run, message.id])
              }),
            ),
      })
      const { rows } = await pool.query(`select run, id from ${schema}.orders group by run, id having count(*) > 1`)
      const { rowCount } = await pool.query(`select from ${schema}.orders`)
      await dispose()
      expect(schedules).toBe(61)
      expect(rows).toEqual([])
      expect(rowCount).toBeGreaterThan(60)
    },
  )
})
