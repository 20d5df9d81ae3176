import { expect, it } from 'vitest'
import { outgoing } from '../../../src/core/publisher.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { migrate, postgresIdempotencyStore, postgresOldestKey } from '../../../src/stores/postgres/index.ts'
import { memoryBroker, memoryConsumer, memoryReplay } from '../../../src/transports/memory/index.ts'
import { describeWith, postgresUrl, uniqueName } from '../../support/services.ts'
import { createTestPool } from '../../support/test-pool.ts'

const retainMs = 7 * 86_400_000

describeWith(['postgres'], 'the oldest key that PostgreSQL remembers', () => {
  it('PR-5: a replay past it is refused, and one that it covers repeats nothing', { timeout: 60_000 }, async () => {
    const { pool, dispose } = await createTestPool({ connectionString: postgresUrl(), max: 8 })
    const schema = uniqueName('oldest')
    await migrate(pool, { schema })
    const charges = new Map<string, number>()
    const billing = pipeline('billing')
      .use(idempotency({ store: postgresIdempotencyStore(pool, { schema }), retainMs }))
      .handle(({ message }) => void charges.set(message.id, (charges.get(message.id) ?? 0) + 1))
    const broker = memoryBroker()
    const group = { broker, groupId: 'billing', topics: ['orders'], pipeline: billing }
    const oldestKeyMs = postgresOldestKey(pool, { schema })
    const run = async () => {
      const stop = new AbortController()
      const running = memoryConsumer({ ...group, concurrency: 8 }).run(stop.signal)
      await expect.poll(() => broker.lag('billing', 'orders'), { timeout: 30_000 }).toBe(0)
      stop.abort()
      await running
    }
    expect(await oldestKeyMs({ scope: 'billing', retainMs })).toBeUndefined()
    const beforeMs = Date.now()
    await broker
      .publisher()
      .publish(Array.from({ length: 300 }, (_, n) => outgoing({ id: `m${n}`, destination: 'orders', body: null })))
    await run()
    const oldest = (await oldestKeyMs({ scope: 'billing', retainMs })) ?? expect.fail('keys are remembered')
    // Two clocks of one machine.
    expect(Math.abs(oldest - beforeMs)).toBeLessThan(60_000)

    const since = new Date(0)
    const asked = { ...group, from: since, scope: 'same', oldestKeyMs: () => Promise.resolve(beforeMs) } as const
    expect((await memoryReplay(asked)).messages).toBe(300)
    await run()
    expect(Math.max(...charges.values())).toBe(1)

    await pool.query(`delete from ${schema}.idempotency`)
    await expect(memoryReplay({ ...asked, oldestKeyMs })).rejects.toMatchObject({
      code: 'bad-order',
      message: expect.stringContaining('would be handled again') as unknown,
    })
    // What the refusal was about.
    expect((await memoryReplay({ ...asked, oldestKeyMs, runAgain: true })).moved).toBe(true)
    await run()
    expect([...charges.values()].filter((times) => times === 2).length).toBe(300)
    await pool.query(`drop schema ${schema} cascade`)
    await dispose()
  })

  it('says that the tables are missing', async () => {
    const { pool, dispose } = await createTestPool({ connectionString: postgresUrl() })
    const oldestKeyMs = postgresOldestKey(pool, { schema: uniqueName('none') })
    await expect(oldestKeyMs({ scope: 's', retainMs })).rejects.toMatchObject({ code: 'bad-schema' })
    await dispose()
  })
})
