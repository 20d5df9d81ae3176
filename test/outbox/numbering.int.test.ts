import pg from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { OutboxLease, OutboxRow } from '../../src/outbox/store.ts'
import { changeOutboxShards } from '../../src/stores/postgres/outbox/operations.ts'
import { postgresOutboxStore, type PostgresOutboxStoreOptions } from '../../src/stores/postgres/outbox/store.ts'
import { describeOnBoth, outboxDatabase, type OutboxDatabase } from './support.ts'

// One shard, so that a test can say in which order everything comes.
describeOnBoth('the numbers of a shard', (url) => {
  let db: OutboxDatabase
  beforeEach(async () => {
    db = await outboxDatabase(url())
    await changeOutboxShards(db.pool, { schema: db.schema, shards: 1 })
  })
  afterEach(() => db.dispose())

  const store = (options: PostgresOutboxStoreOptions = {}) =>
    postgresOutboxStore(db.pool, { schema: db.schema, sequences: true, persistEveryMs: 60_000, ...options })

  /** Claimed by the next owner while the one before it is taken for dead. */
  async function taken(options: PostgresOutboxStoreOptions = {}): Promise<OutboxLease> {
    await db.pool.query("update outbox_shard set lease_until = '-infinity'")
    const claimed = await store(options).claim(`owner-${Math.random()}`, 60_000, [])
    if (claimed === null) throw new Error('nobody lets go of the shard')
    return claimed
  }

  const insert = (client: pg.Client | pg.Pool, ...ids: string[]): Promise<unknown> =>
    client.query(
      `insert into outbox (topic, key, type, message_id, payload)
       select 'orders', 'a', 't', id, convert_to(id, 'utf8') from unnest($1::text[]) id`,
      [ids],
    )

  async function rows(lease: OutboxLease, most = 100): Promise<readonly OutboxRow[]> {
    const read = await lease.read(most, 1_000_000)
    if (read === 'lost') throw new Error('lost')
    return read
  }

  async function read(lease: OutboxLease, most = 100): Promise<Record<string, number | undefined>> {
    return Object.fromEntries((await rows(lease, most)).map(({ id, sequence }) => [id, sequence?.number]))
  }

  async function next(lease: OutboxLease, most = 100): Promise<Record<string, number | undefined>> {
    const found = await read(lease, most)
    expect(await lease.settle([])).toBe('ok')
    return found
  }

  it('P-2: never go back, though the ids of the rows do', async () => {
    const slow = await db.connect()
    await slow.query('begin')
    await insert(slow, 'late')
    await insert(db.pool, 'first')
    const lease = await taken()
    expect(await next(lease)).toEqual({ first: 1 })
    await slow.query('commit')
    const [late] = await rows(lease)
    expect(late).toMatchObject({ id: 'late', sequence: { number: 2 } })
    // Its own id would be below one that a broker has already, and the broker would drop it.
    const [first] = (await db.pool.query("select id from outbox where message_id = 'first'")).rows as { id: string }[]
    expect(BigInt(late?.position ?? 0)).toBeLessThan(BigInt(first?.id ?? 0))
  })

  it('are the same for the relay that follows one which died before it settled, whatever was committed since', async () => {
    const slow = await db.connect()
    await slow.query('begin')
    await insert(slow, 'late')
    await insert(db.pool, 'm1', 'm2')
    const dead = await taken()
    expect(await read(dead)).toEqual({ m1: 1, m2: 2 })
    await slow.query('commit')
    await insert(db.pool, 'm3')
    const successor = await taken()
    expect(await next(successor)).toEqual({ m1: 1, m2: 2 })
    expect(await next(successor)).toEqual({ late: 3, m3: 4 })
  })

  it('are the same where it died after it settled, before that was stored', async () => {
    await insert(db.pool, 'm1', 'm2')
    const dead = await taken()
    await next(dead)
    await insert(db.pool, 'm3')
    expect(await next(dead)).toEqual({ m3: 3 })
    await insert(db.pool, 'm4')
    // The window of `m3` is what is stored: the one before it was over by then.
    const successor = await taken()
    expect(await next(successor)).toEqual({ m3: 3 })
    expect(await next(successor)).toEqual({ m4: 4 })
  })

  it('go on over the pages of a large window, and over relays with pages of another size', async () => {
    const ids = Array.from({ length: 25 }, (_, at) => `m${at + 1}`)
    await insert(db.pool, ...ids)
    const dead = await taken()
    expect(await next(dead, 10)).toEqual(Object.fromEntries(ids.slice(0, 10).map((id, at) => [id, at + 1])))
    await read(dead, 10)
    const successor = await taken()
    expect(await next(successor, 4)).toEqual({ m11: 11, m12: 12, m13: 13, m14: 14 })
    // Read ahead, and so as large as the one before.
    expect(await next(successor)).toEqual({ m15: 15, m16: 16, m17: 17, m18: 18 })
    expect(await next(successor)).toEqual(Object.fromEntries(ids.slice(18).map((id, at) => [id, at + 19])))
    await insert(db.pool, 'm26')
    expect(await next(successor)).toEqual({ m26: 26 })
  })

  it('keep their name over releases, and count what is set aside', async () => {
    await insert(db.pool, 'm1', 'dead')
    const first = await taken()
    const page = await rows(first)
    await first.settle(page.slice(1).map(({ position }) => ({ position, error: 'poison' })))
    await first.release()
    await insert(db.pool, 'm3')
    const [again] = await rows(await taken())
    expect(again?.sequence).toEqual({ source: page[0]?.sequence?.source, number: 3 })
  })

  it('P-2: begin again under another name after a relay that does not number', async () => {
    await insert(db.pool, 'm1', 'm2')
    const numbering = await taken()
    const [before] = await rows(numbering)
    await numbering.settle([])
    await numbering.release()
    await insert(db.pool, 'm3')
    const plain = await taken({ sequences: false })
    expect(await next(plain)).toEqual({ m3: undefined })
    await plain.release()
    await insert(db.pool, 'm4')
    const [after] = await rows(await taken())
    expect(after).toMatchObject({ id: 'm4', sequence: { number: 1 } })
    expect(after?.sequence?.source).not.toBe(before?.sequence?.source)
  })

  it('begin again under another name with another number of shards', async () => {
    await insert(db.pool, 'm1')
    const lease = await taken()
    const [before] = await rows(lease)
    await lease.settle([])
    await lease.release()
    for (const shards of [2, 1]) await changeOutboxShards(db.pool, { schema: db.schema, shards })
    await insert(db.pool, 'm2')
    const [after] = await rows(await taken())
    expect(after?.sequence?.source).not.toBe(before?.sequence?.source)
  })

  it('hold one name for each shard', async () => {
    await changeOutboxShards(db.pool, { schema: db.schema, shards: 3 })
    await db.pool.query(
      `insert into outbox (topic, key, type, message_id) select 'orders', 'k' || n, 't', n::text from generate_series(1, 60) n`,
    )
    const all = store()
    const sources: (string | undefined)[] = []
    for (let held: number[] = []; held.length < 3;) {
      const lease = await all.claim('a', 60_000, held)
      if (lease === null) throw new Error('no shard')
      held = [...held, lease.shard]
      sources.push(...new Set((await rows(lease)).map(({ sequence }) => sequence?.source)))
    }
    expect(new Set(sources).size).toBe(3)
  })

  it('are not in rows of a store that was not asked for them', async () => {
    await insert(db.pool, 'm1')
    const [row] = await rows(await taken({ sequences: false }))
    expect(row).not.toHaveProperty('sequence')
  })

  describe('need', () => {
    it('a schema that has a place for them', async () => {
      await db.pool.query('alter table outbox_shard drop column sequence')
      await expect(store().check()).rejects.toMatchObject({
        code: 'bad-schema',
        message: expect.stringMatching(/older one: run migrate/) as string,
      })
      await expect(store({ sequences: false }).check()).resolves.toBeUndefined()
    })

    it('commits that are on the disk', async () => {
      const lazy = new pg.Pool({ connectionString: db.url, max: 1, options: '-c synchronous_commit=off' })
      const { schema } = db
      await expect(postgresOutboxStore(lazy, { schema, sequences: true }).check()).rejects.toMatchObject({
        code: 'bad-schema',
        message: expect.stringMatching(/synchronous_commit = off/) as string,
      })
      await expect(postgresOutboxStore(lazy, { schema }).check()).resolves.toBeUndefined()
      await lazy.end()
    })
  })
})
