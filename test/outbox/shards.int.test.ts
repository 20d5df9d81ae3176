import { afterEach, beforeEach, expect, it } from 'vitest'
import type { OutboxLease, OutboxStore } from '../../src/outbox/store.ts'
import { changeOutboxShards } from '../../src/stores/postgres/outbox/operations.ts'
import { postgresOutboxStore } from '../../src/stores/postgres/outbox/store.ts'
import { postgresOutbox } from '../../src/stores/postgres/outbox/outbox.ts'
import { describeOnBoth, addCommitted, outboxDatabase, pause, until, type OutboxDatabase } from './support.ts'

describeOnBoth('another number of shards, while messages are delayed and written', (url) => {
  let db: OutboxDatabase
  let store: OutboxStore

  beforeEach(async () => {
    db = await outboxDatabase(url())
    store = postgresOutboxStore(db.pool, { schema: db.schema, persistEveryMs: 0 })
  })
  afterEach(async () => {
    await db.dispose()
  })

  const outbox = () => postgresOutbox({ schema: db.schema })
  const change = (shards: number, drainMs = 10_000): Promise<void> =>
    changeOutboxShards(db.pool, { schema: db.schema, shards, drainMs })
  const names = (start: string, count: number): string[] => Array.from({ length: count }, (_, n) => `${start}${n}`)

  const delayed = (ids: readonly string[], delayUntil: number) =>
    ids.map((id) => ({ id, destination: 'orders', key: id, body: null, delayUntil }))

  async function claim(held: readonly number[] = []): Promise<OutboxLease> {
    const lease = await store.claim('test', 60_000, held)
    if (lease === null) throw new Error('nobody lets go of a shard')
    return lease
  }

  async function next(lease: OutboxLease): Promise<string[]> {
    const rows = await lease.read(1000, 1e6)
    if (rows === 'lost') throw new Error('lost')
    await lease.settle([])
    return rows.map(({ id }) => id)
  }

  /** What the shards that there are bring, delayed messages that are due included. */
  async function drained(shards: number): Promise<string[]> {
    const found: string[] = []
    for (const held: number[] = []; held.length < shards;) {
      const lease = await claim(held)
      held.push(lease.shard)
      await lease.moveDue(1000)
      found.push(...(await next(lease)))
    }
    return found.sort()
  }

  async function waitsForALock(): Promise<void> {
    await until(async () => {
      const { rows } = await db.pool.query<{ n: number }>(
        `select count(*)::int n from pg_locks where not granted and relation in ('outbox'::regclass, 'outbox_delayed'::regclass)`,
      )
      return (rows[0]?.n ?? 0) > 0
    }, 'somebody waits for a lock')
  }

  it('takes the delayed messages along to the shards that are left', async () => {
    const ids = names('d', 20)
    await addCommitted(outbox(), db.pool, delayed(ids, Date.now() + 500))
    await change(1)
    await pause(600)
    expect(await drained(1)).toEqual(ids.toSorted())
  })

  it('waits for the transactions that are adding delayed messages', async () => {
    const ids = names('late', 20)
    const client = await db.connect()
    await client.query('begin')
    await outbox().add(client, delayed(ids, Date.now()))
    let changed = false
    const changing = change(1).then(() => (changed = true))
    await waitsForALock()
    expect(changed).toBe(false)
    await client.query('commit')
    await changing
    expect(await drained(1)).toEqual(ids.toSorted())
  })

  it('gives way to a transaction that writes to both tables, in either order, instead of deadlocking with it', async () => {
    for (const [n, first] of [true, false].entries()) {
      const client = await db.connect()
      const add = (late: boolean) =>
        outbox().add(client, {
          ...{ id: `${n}-${late}`, destination: 'orders', body: null },
          ...(late ? { delayUntil: Date.now() } : {}),
        })
      await client.query('begin')
      await add(first)
      const changing = change(n + 1).catch((error: unknown) => error)
      await waitsForALock()
      await add(!first)
      await client.query('commit')
      expect(await Promise.race([changing, drainedUntil(changing)])).toBeUndefined()
    }
    await drained(2)
    const { rows } = await db.pool.query('select from outbox_delayed')
    expect(rows).toEqual([])
  })

  /** Publishes, as a relay would, until the change is through. */
  async function drainedUntil(changing: Promise<unknown>): Promise<never> {
    let over = false
    void changing.then(() => (over = true))
    const leases = new Map<number, OutboxLease>()
    while (!over) {
      const lease = await store.claim('test', 60_000, [...leases.keys()])
      if (lease !== null) leases.set(lease.shard, lease)
      for (const each of leases.values()) if ((await each.read(1000, 1e6)) !== 'lost') await each.settle([])
      await pause(5)
    }
    return new Promise(() => {})
  }

  it('gives up, and lets the writers go on, where a transaction does not end', async () => {
    const client = await db.connect()
    await client.query('begin')
    await outbox().add(client, delayed(['open'], Date.now()))
    await expect(change(1, 100)).rejects.toMatchObject({
      code: 'unavailable',
      message:
        'changeOutboxShards: transactions that write to the outbox did not end within 100 ms; nothing was changed',
    })
    await addCommitted(outbox(), db.pool, { id: 'another', destination: 'orders', body: null })
    await client.query('commit')
    expect(await drained(4)).toEqual(['another', 'open'])
  })

  it('gives up, and changes nothing, where somebody reads for long, as a backup does', async () => {
    const reader = await db.connect()
    await reader.query('begin')
    await reader.query('select from outbox_0')
    await expect(change(1, 100)).rejects.toMatchObject({
      code: 'unavailable',
      message: /^changeOutboxShards: somebody reads the outbox for longer than 100 ms/,
    })
    await addCommitted(outbox(), db.pool, { id: 'm1', destination: 'orders', body: null })
    await reader.query('commit')
    expect(await drained(4)).toEqual(['m1'])
    await change(1)
    await addCommitted(outbox(), db.pool, [
      { id: 'm2', destination: 'orders', body: null },
      ...delayed(['d1'], Date.now()),
    ])
    expect(await drained(1)).toEqual(['d1', 'm2'])
  })

  it('a delayed message that falls due meanwhile does not hold up the shard that it waits for', async () => {
    await change(1)
    await addCommitted(outbox(), db.pool, [
      { id: 'm1', destination: 'orders', body: null },
      ...delayed(['due'], Date.now()),
    ])
    const lease = await claim()
    const changing = change(2).then(
      () => 'changed',
      (error: unknown) => error,
    )
    await until(async () => {
      const { rows } = await db.pool.query<{ n: number }>(
        `select count(*)::int n from pg_locks where granted and mode = 'ShareRowExclusiveLock' and relation = 'outbox'::regclass`,
      )
      return rows[0]?.n === 1
    }, 'the writers are locked out')
    expect(await lease.moveDue(10)).toBe(0)
    expect(await next(lease)).toEqual(['m1'])
    expect(await changing).toBe('changed')
    expect(await drained(2)).toEqual(['due'])
  })

  it('two changes at a time come one after the other', async () => {
    await change(1)
    await addCommitted(outbox(), db.pool, { id: 'm1', destination: 'orders', body: null })
    const lease = await claim()
    const changing = Promise.all([change(2), change(3)])
    await waitsForALock()
    expect(await next(lease)).toEqual(['m1'])
    await changing
    const { rows } = await db.pool.query<{ n: number; wanted: number }>(
      'select count(*)::int n, outbox_shards() wanted from outbox_shard',
    )
    expect(rows[0]?.n).toBe(rows[0]?.wanted)
  })
})
