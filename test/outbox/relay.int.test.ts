import { afterEach, beforeEach, expect, it } from 'vitest'
import { outboxRelay, type OutboxRelay, type OutboxRelayOptions } from '../../src/outbox/relay.ts'
import { postgresOutboxStore } from '../../src/stores/postgres/outbox-store.ts'
import { postgresOutbox } from '../../src/stores/postgres/outbox.ts'
import { describeOnBoth, outboxDatabase, target, until, type OutboxDatabase } from './support.ts'

describeOnBoth('outboxRelay()', (url) => {
  let db: OutboxDatabase
  const running: { stop: AbortController; done: Promise<void> }[] = []

  beforeEach(async () => {
    db = await outboxDatabase(url())
  })
  afterEach(async () => {
    for (const { stop } of running) stop.abort()
    await Promise.all(running.splice(0).map(({ done }) => done.catch(() => {})))
    await db.dispose()
  })

  function start(
    options: Partial<OutboxRelayOptions> & Pick<OutboxRelayOptions, 'publisher'>,
  ): OutboxRelay & { stop(): Promise<void> } {
    const relay = outboxRelay({ store: postgresOutboxStore(db.pool, { schema: db.schema }), leaseMs: 2000, ...options })
    const stop = new AbortController()
    const done = relay.run(stop.signal)
    running.push({ stop, done })
    return { ...relay, stop: () => (stop.abort(), done) }
  }

  it('publishes what a transaction committed, and nothing of one that rolled back', async () => {
    const outbox = postgresOutbox({ schema: db.schema })
    const to = target()
    start({ publisher: to })
    const client = await db.connect()
    await client.query('begin')
    await outbox.add(client, { id: 'no', destination: 'orders', body: Buffer.from('x') })
    await client.query('rollback')
    await client.query('begin')
    await outbox.add(client, {
      id: 'yes',
      destination: 'orders',
      key: 'k',
      type: 't',
      headers: { a: 'b' },
      body: Buffer.from('y'),
    })
    await client.query('commit')
    await until(() => to.published.length > 0, 'published')
    expect(to.published).toMatchObject([{ id: 'yes', destination: 'orders', key: 'k', type: 't', headers: { a: 'b' } }])
  })

  it('O-19: drains a backlog that is far larger than a page, each message once and in order', async () => {
    await db.pool.query(
      `insert into outbox (topic, key, type, message_id, payload)
       select 'orders', 'k' || n % 7, 't', n::text, convert_to(repeat('x', 100), 'utf8') from generate_series(1, 5000) n`,
    )
    const to = target()
    start({ publisher: to, batchRows: 100 })
    await until(() => to.published.length >= 5000, 'drained')
    expect(new Set(to.ids()).size).toBe(5000)
    for (const key of new Set(to.published.map((each) => each.key))) {
      const ids = to.published.filter((each) => each.key === key).map(({ id }) => Number(id))
      expect(ids).toEqual([...ids].sort((a, b) => a - b))
    }
  })
})
