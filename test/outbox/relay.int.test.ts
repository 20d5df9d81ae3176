import { afterEach, beforeEach, expect, it } from 'vitest'
import { PublishError } from '../../src/core/errors.ts'
import { subscribe } from '../../src/core/events.ts'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { postgresIdempotencyStore } from '../../src/stores/postgres/idempotency/store.ts'
import { postgresOutboxDead } from '../../src/stores/postgres/outbox/dead.ts'
import { transaction } from '../../src/stores/postgres/transaction.ts'
import { outboxRelay, type OutboxRelay, type OutboxRelayOptions } from '../../src/outbox/relay.ts'
import { postgresOutboxStore } from '../../src/stores/postgres/outbox/store.ts'
import { postgresOutbox } from '../../src/stores/postgres/outbox/outbox.ts'
import {
  describeOnBoth,
  fastSlots,
  addCommitted,
  outboxDatabase,
  pause,
  target,
  until,
  type OutboxDatabase,
} from './support.ts'

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

  it('O-5: several relays share one outbox, come and go, and keep every key in order', async () => {
    const outbox = postgresOutbox({ schema: db.schema })
    await db.pool.query(
      'create table counter (key int primary key, n int); insert into counter select n, 0 from generate_series(0, 9) n',
    )
    const to = target(() => pause(Math.random() * 3))
    const relays = [1, 2, 3].map(() => start({ publisher: to, leaseMs: 600, batchRows: 5 }))
    const committed: string[] = []
    const end = Date.now() + 4000
    async function write(): Promise<void> {
      const client = await db.connect()
      while (Date.now() < end) {
        const key = Math.floor(Math.random() * 10)
        await client.query('begin')
        const { rows } = await client.query<{ n: number }>('update counter set n = n + 1 where key = $1 returning n', [
          key,
        ])
        const id = `${key}:${rows[0]?.n}`
        await outbox.add(client, { id, destination: 'orders', key: String(key), body: null })
        if (Math.random() < 0.3) await pause(Math.random() * 5)
        await client.query('commit')
        committed.push(id)
      }
    }
    const writers = Promise.all([write(), write(), write(), write()])
    await pause(1000)
    await relays[0]?.stop()
    start({ publisher: to, leaseMs: 600, batchRows: 5 })
    await pause(1000)
    await relays[1]?.stop()
    await writers
    await until(() => new Set(to.ids()).size === committed.length, 'published')
    const last = new Map<string, number>()
    for (const id of new Set(to.ids())) {
      const [key = '', n] = id.split(':')
      expect(Number(n)).toBe((last.get(key) ?? 0) + 1)
      last.set(key, Number(n))
    }
  })

  it('commits the effect, the completion and the message together, in a handler', async () => {
    const outbox = postgresOutbox({ schema: db.schema })
    await db.pool.query('create table effect (id text primary key)')
    const store = postgresIdempotencyStore(db.pool, { schema: db.schema })
    let fail = true
    const placed = pipeline('billing')
      .use(idempotency({ store }))
      .use(transaction(db.pool))
      .handle(async ({ message, tx }) => {
        await tx.query('insert into effect values ($1)', [message.id])
        await outbox.add(tx, { id: `${message.id}-billed`, destination: 'billed', body: message.body })
        if (fail) throw new Error('later')
      })
    const to = target()
    start({ publisher: to })
    const message = { id: 'm', body: Buffer.from('x') }
    await expect(placed.dispatch({ message })).rejects.toThrow('later')
    fail = false
    expect(await placed.dispatch({ message })).toBe('handled')
    expect(await placed.dispatch({ message })).toBe('duplicate')
    await until(() => to.published.length > 0, 'published')
    await pause(300)
    expect(to.ids()).toEqual(['m-billed'])
    expect((await db.pool.query('select id from effect')).rows).toEqual([{ id: 'm' }])
  })

  it('O-7: keeps refused messages to look at, to send again and to forget', async () => {
    const outbox = postgresOutbox({ schema: db.schema })
    let refuse = true
    const to = target((messages) => {
      const failures = messages
        .map(({ id }, index) => ({ id, index }))
        .filter(({ id }) => refuse && id.startsWith('bad'))
        .map(({ index }) => ({ index, permanent: true, error: new Error('too large') }))
      if (failures.length > 0) throw new PublishError('refused', failures)
    })
    start({ publisher: to, minRetryMs: 1 })
    await addCommitted(outbox, db.pool, [
      { id: 'bad-1', destination: 'orders', key: 'k', headers: { a: Buffer.from([255]) }, body: Buffer.from('x') },
      { id: 'fine', destination: 'orders', key: 'k', body: null },
      { id: 'bad-2', destination: 'orders', key: 'k', body: null },
    ])
    const dead = postgresOutboxDead(db.pool, { schema: db.schema })
    await until(async () => (await dead.list()).length === 2, 'dead')
    await until(() => to.ids().includes('fine'), 'the other is published')
    const [first, second] = await dead.list()
    expect(first).toMatchObject({ id: 'bad-1', destination: 'orders', key: 'k', error: 'Error: too large' })
    expect(first?.headers['a']).toEqual(Buffer.from([255]))
    expect(await dead.list({ after: first?.position ?? '', limit: 1 })).toEqual([second])
    refuse = false
    expect(await dead.sendAgain([first?.position ?? ''])).toBe(1)
    expect(await dead.remove([second?.position ?? ''])).toBe(1)
    await until(() => to.ids().includes('bad-1'), 'sent again')
    expect(await dead.list()).toEqual([])
  })

  it('publishes delayed messages when they are due, and what was committed at once when poked', async () => {
    const outbox = postgresOutbox({ schema: db.schema })
    const to = target()
    const relay = start({ publisher: to, duePollMs: 20, maxPollMs: 60_000, minPollMs: 60_000 })
    await until(() => relay.health().ready, 'ready')
    await pause(100)
    await addCommitted(outbox, db.pool, { id: 'now', destination: 'orders', body: null })
    await until(() => (relay.poke(), to.ids().includes('now')), 'poked')
    await relay.stop()
    const later = start({ publisher: to, duePollMs: 20 })
    await addCommitted(outbox, db.pool, { id: 'late', destination: 'orders', body: null, delayUntil: Date.now() + 300 })
    await pause(100)
    expect(to.ids()).toEqual(['now'])
    await until(() => to.ids().includes('late'), 'due')
    await later.stop()
  })

  it('O-10: finds what was committed by polling alone', async () => {
    const to = target()
    start({ publisher: to })
    await pause(1500)
    await addCommitted(postgresOutbox({ schema: db.schema }), db.pool, { id: 'a', destination: 'orders', body: null })
    await until(() => to.ids().includes('a'), 'found')
  })

  it('O-11, O-15: goes through every partition again and again without losing one', async () => {
    await fastSlots(db)
    const rotations = new Map<string, number>()
    const end = subscribe('outbox-rotated', ({ result }) => rotations.set(result, (rotations.get(result) ?? 0) + 1))
    const to = target()
    start({ publisher: to, rotateEveryMs: 100 })
    const outbox = postgresOutbox({ schema: db.schema })
    let n = 0
    for (const until = Date.now() + 5000; Date.now() < until; n++) {
      await addCommitted(outbox, db.pool, { id: String(n), destination: 'orders', key: 'k', body: Buffer.alloc(100) })
      await pause(2)
    }
    await until(() => to.published.length >= n, 'published')
    end()
    expect(to.ids()).toEqual(Array.from({ length: n }, (_, id) => String(id)))
    expect(rotations.get('cleaned')).toBeGreaterThan(2)
    const left = await db.pool.query<{ n: number }>('select count(*)::int n from outbox')
    expect(left.rows[0]?.n).toBeLessThan(n)
  })
})
