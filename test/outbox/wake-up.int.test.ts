import pg from 'pg'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { subscribe } from '../../src/core/events.ts'
import { outboxRelay } from '../../src/outbox/relay.ts'
import { postgresOutboxStore } from '../../src/stores/postgres/outbox/store.ts'
import { postgresOutboxListener, postgresOutboxNotifier } from '../../src/stores/postgres/outbox/wake-up.ts'
import { postgresOutbox } from '../../src/stores/postgres/outbox/outbox.ts'
import {
  describeOnBoth,
  addCommitted,
  outboxDatabase,
  pause,
  target,
  until,
  type OutboxDatabase,
  type Target,
} from './support.ts'

// The relays here look by themselves once a minute: what arrives sooner was told.
describeOnBoth('NOTIFY after the commit, as a hint to other processes', (url) => {
  let db: OutboxDatabase
  let pool: pg.Pool
  let to: Target
  const stop = { signal: new AbortController(), running: [] as Promise<void>[] }

  beforeEach(async () => {
    db = await outboxDatabase(url())
    pool = new pg.Pool({ connectionString: url(), max: 8 })
    pool.on('error', () => {})
    to = target()
    stop.signal = new AbortController()
  })
  afterEach(async () => {
    stop.signal.abort()
    await Promise.all(stop.running.splice(0))
    await pool.end()
    await db.dispose()
  })

  it('the listener ends with its signal, even while its pool has no connection to lend', async () => {
    const small = new pg.Pool({ connectionString: url(), max: 1 })
    const taken = await small.connect()
    const stopping = new AbortController()
    const running = postgresOutboxListener(small, { poke: () => {} }, { schema: db.schema }).run(stopping.signal)
    await pause(50)
    stopping.abort()
    await running
    taken.release()
    // What the pool lent too late was given back.
    await until(() => small.idleCount === 1 && small.waitingCount === 0, 'the connection is free')
    await small.end()
  })

  async function start(listens: boolean): Promise<void> {
    const store = postgresOutboxStore(pool, { schema: db.schema })
    const relay = outboxRelay({ store, publisher: to, minPollMs: 60_000, maxPollMs: 60_000 })
    stop.running.push(relay.run(stop.signal.signal))
    if (listens) {
      const listener = postgresOutboxListener(pool, relay, { schema: db.schema, minRetryMs: 10 })
      stop.running.push(listener.run(stop.signal.signal))
      await until(async () => (await listening()) !== undefined, 'somebody listens')
    }
    await until(() => String(relay.health().details['owned']) === '0,1,2,3', 'the relay has every shard')
    // And has looked at each for the first time.
    await pause(500)
  }

  /** The server process of the connection that listens. */
  async function listening(): Promise<number | undefined> {
    const { rows } = await db.pool.query<{ pid: number }>(
      `select pid from pg_stat_activity where query = 'listen ' || quote_ident($1) or query = format('listen "%s"', $1)`,
      [db.schema],
    )
    return rows[0]?.pid
  }

  const add = (id: string) =>
    addCommitted(postgresOutbox({ schema: db.schema }), db.pool, { id, destination: 'orders', body: null })

  it('wakes a relay that would not have looked for a minute, and only that of its own outbox', async () => {
    await start(true)
    const client = await db.connect()
    const notifier = postgresOutboxNotifier(db.pool, { schema: db.schema })
    for (const id of ['m1', 'm2', 'm3']) {
      await client.query('begin')
      await postgresOutbox({ schema: db.schema }).add(client, { id, destination: 'orders', key: 'k', body: null })
      await client.query('commit')
      notifier.notify()
      await until(() => to.ids().includes(id), `${id} is published`)
    }

    // Another schema of the same database is another outbox; the last notification of this one is through by then.
    await pause(500)
    await add('m4')
    postgresOutboxNotifier(db.pool, { schema: 'another' }).notify()
    await pause(300)
    expect(to.ids()).toEqual(['m1', 'm2', 'm3'])
  })

  it('a notification that nobody hears costs the wait for the next poll and nothing else', async () => {
    const store = postgresOutboxStore(pool, { schema: db.schema })
    stop.running.push(outboxRelay({ store, publisher: to }).run(stop.signal.signal))
    await add('m1')
    postgresOutboxNotifier(db.pool, { schema: db.schema }).notify()
    await until(() => to.ids().length === 1, 'm1 is published')
  })

  it('reports a connection that was cut, listens again, and looks at once for what it missed', async () => {
    const failed: string[] = []
    const unsubscribe = subscribe('store-failed', ({ operation }) => void failed.push(operation))
    await start(true)
    await add('m1')
    const before = await listening()
    await db.pool.query('select pg_terminate_backend($1)', [before])
    await until(() => to.ids().length === 1, 'm1 is published without a notification')
    expect(failed).toContain('listen')
    expect(await listening()).not.toBe(before)

    await add('m2')
    postgresOutboxNotifier(db.pool, { schema: db.schema }).notify()
    await until(() => to.ids().length === 2, 'm2 is published')
    unsubscribe()
  })

  it('sends one for many commits, and a server that is away is reported, not thrown', async () => {
    const client = await db.connect()
    let heard = 0
    client.on('notification', () => heard++)
    await client.query(`listen ${db.schema}`)
    const notifier = postgresOutboxNotifier(db.pool, { schema: db.schema, everyMs: 50 })
    for (let n = 0; n < 100; n++) notifier.notify()
    await until(() => heard > 0, 'heard')
    await pause(200)
    expect(heard).toBeLessThanOrEqual(2)

    const failed: string[] = []
    const unsubscribe = subscribe('store-failed', ({ operation }) => void failed.push(operation))
    const away = postgresOutboxNotifier({ query: () => Promise.reject(new Error('away')) }, { everyMs: 1 })
    away.notify()
    await until(() => failed.includes('notify'), 'reported')
    unsubscribe()
  })
})
