import type pg from 'pg'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { subscribe, type Events } from '../../src/core/events.ts'
import type { OutboxLease, OutboxRow, OutboxStore } from '../../src/outbox/store.ts'
import { adoptOutbox, changeOutboxShards } from '../../src/stores/postgres/outbox/operations.ts'
import { parseSnapshot } from '../../src/stores/postgres/outbox/snapshot.ts'
import { postgresOutboxStore } from '../../src/stores/postgres/outbox/store.ts'
import { describeOnBoth, outboxDatabase, pause, type OutboxDatabase, slotsByFunction } from './support.ts'

// One shard, so that a test can say in which order everything comes.
describeOnBoth('the windows of one shard', (url) => {
  let db: OutboxDatabase
  let store: OutboxStore

  beforeEach(async () => {
    db = await outboxDatabase(url())
    await changeOutboxShards(db.pool, { schema: db.schema, shards: 1 })
    store = postgresOutboxStore(db.pool, { schema: db.schema, persistEveryMs: 0 })
  })
  afterEach(async () => {
    await db.dispose()
  })

  async function lease(owner = 'a', leaseMs = 60_000): Promise<OutboxLease> {
    const claimed = await store.claim(owner, leaseMs, [])
    if (claimed === null) throw new Error('nobody lets go of the shard')
    return claimed
  }

  const insert = (client: pg.Client | pg.Pool, ...ids: string[]): Promise<unknown> =>
    client.query(
      `insert into outbox (topic, key, type, message_id, payload)
       select 'orders', 'a', 't', id, convert_to(id, 'utf8') from unnest($1::text[]) id`,
      [ids],
    )

  async function writer(): Promise<pg.Client> {
    const client = await db.connect()
    await client.query('begin')
    return client
  }

  async function page(held: OutboxLease, rows = 100, bytes = 1_000_000): Promise<string[]> {
    const read = await held.read(rows, bytes)
    if (read === 'lost') throw new Error('lost')
    return read.map(({ id }) => id)
  }

  async function next(held: OutboxLease, rows = 100): Promise<string[]> {
    const ids = await page(held, rows)
    expect(await held.settle([])).toBe('ok')
    return ids
  }

  const range = (from: number, to: number): string[] => Array.from({ length: to - from + 1 }, (_, n) => `m${from + n}`)

  it('O-1: reads a row whose id is lower than one already published, when its transaction commits later', async () => {
    const slow = await writer()
    await insert(slow, 'm1')
    await insert(db.pool, 'm2')
    const held = await lease()
    expect(await next(held)).toEqual(['m2'])
    const cursor = await db.pool.query("select id from outbox where message_id = 'm2'")
    await slow.query('commit')
    expect(await next(held)).toEqual(['m1'])
    // The broken way: everything above the highest id that was seen.
    const naive = await db.pool.query('select id from outbox where id > $1', [(cursor.rows[0] as { id: string }).id])
    expect(naive.rows).toEqual([])
  })

  it('O-2: keeps the order of ids where that of transactions differs, and never cuts a window by transaction', async () => {
    // The transaction with the lower number writes later, once the other has committed and let go of the key.
    const older = await writer()
    await older.query('select pg_current_xact_id()')
    await insert(db.pool, 'm1')
    await insert(older, 'm2')
    await older.query('commit')
    const held = await lease()
    expect(await next(held)).toEqual(['m1', 'm2'])
    const byTransaction = await db.pool.query('select message_id from outbox order by txid, id')
    expect(byTransaction.rows).toEqual([{ message_id: 'm2' }, { message_id: 'm1' }])
  })

  it('O-3: is not held up by a write in another database, a prepared transaction or an open one', async () => {
    const open = await writer()
    await insert(open, 'late')
    const prepared = await writer()
    await insert(prepared, 'prepared')
    await prepared.query(`prepare transaction '${db.schema}'`)
    await insert(db.pool, 'm1')
    const held = await lease()
    try {
      expect(await next(held)).toEqual(['m1'])
      const horizon = await db.pool.query(
        "select count(*)::int n from outbox where txid < pg_snapshot_xmin(pg_current_snapshot()) and message_id = 'm1'",
      )
      expect(horizon.rows).toEqual([{ n: 0 }])
    } finally {
      await db.pool.query(`commit prepared '${db.schema}'`)
    }
    expect(await next(held)).toEqual(['prepared'])
    await open.query('commit')
    expect(await next(held)).toEqual(['late'])
  })

  it('reads what one transaction wrote before, within and after its savepoints, and nothing that was rolled back', async () => {
    const client = await writer()
    await insert(client, 'm1')
    await client.query('savepoint s')
    await insert(client, 'gone')
    await client.query('rollback to s')
    await client.query('savepoint t')
    await insert(client, 'm2')
    await client.query('release t')
    await insert(client, 'm3')
    const held = await lease()
    expect(await next(held)).toEqual([])
    await client.query('commit')
    expect(await next(held)).toEqual(['m1', 'm2', 'm3'])
  })

  it('first page taken from the limited rows of OPEN: loses what has a lower id; a span is paged by id instead', async () => {
    const older = await writer()
    await older.query('select pg_current_xact_id()')
    await insert(db.pool, ...range(1, 10))
    await insert(older, ...range(11, 20))
    await older.query('commit')
    const held = await lease()
    // The broken way: the first rows that the index gives, and on from the highest id among them.
    const shard = await db.pool.query<{ snapshot: string }>('select snapshot::text from outbox_shard')
    const { xmax, running } = parseSnapshot(shard.rows[0]?.snapshot ?? '')
    const limited = await db.pool.query<{ message_id: string | null; branch: number }>(db.statements.open, [
      0,
      xmax,
      running,
      10,
      1e9,
    ])
    const first = limited.rows.filter(({ branch }) => branch !== 0).map((row) => row.message_id)
    expect(first).toContain('m11')
    expect(first).not.toContain('m1')
    expect(await next(held, 10)).toEqual(range(1, 10))
    expect(await next(held, 10)).toEqual(range(11, 20))
    expect(await next(held, 10)).toEqual([])
  })

  it('page without "visible in win_to": sends a8 before a4', async () => {
    const slow = await writer()
    await insert(db.pool, 'm1', 'm2', 'm3')
    await insert(slow, 'a4')
    await insert(db.pool, 'm5', 'm6', 'm7')
    const held = await lease()
    expect(await next(held, 4)).toEqual(['m1', 'm2', 'm3', 'm5'])
    await slow.query('commit')
    await insert(db.pool, 'a8')
    const stored = await db.pool.query<Record<string, string>>(
      'select snapshot::text, win_to::text, win_pos::text from outbox_shard',
    )
    const { snapshot, win_to: to, win_pos: pos } = stored.rows[0] ?? {}
    const broken = db.statements.page.replace('pg_visible_in_snapshot(txid, $3::pg_snapshot)', '($3::text is not null)')
    const unbounded = await db.pool.query<{ message_id: string; ok: boolean }>(broken, [
      ...[0, pos, to, snapshot, 100, 1e9],
      '999999999',
    ])
    // a4 is behind the position: it would come in the next window, after a8.
    expect(unbounded.rows.filter(({ ok }) => ok).map((row) => row.message_id)).toEqual(['m6', 'm7', 'a8'])
    expect(await next(held, 4)).toEqual(['m6', 'm7'])
    expect(await next(held, 4)).toEqual(['a4', 'a8'])
  })

  it('O-24: takeover continues the stored window; one that reopens it fresh and keeps the position loses a row', async () => {
    for (const broken of [true, false]) {
      const slow = await writer()
      await insert(db.pool, 'm1', 'm2', 'm3')
      await insert(slow, 'a4')
      await insert(db.pool, 'm5', 'm6', 'm7')
      const first = await lease('first')
      expect(await next(first, 4)).toEqual(['m1', 'm2', 'm3', 'm5'])
      await slow.query('commit')
      if (broken) await db.pool.query('update outbox_shard set win_to = pg_current_snapshot(), win_end = 9e18::bigint')
      await db.pool.query("update outbox_shard set lease_until = '-infinity'")
      const second = await lease('second')
      expect(await next(second, 4)).toEqual(['m6', 'm7'])
      expect(await next(second, 4)).toEqual(broken ? [] : ['a4'])
      expect(await first.settle([])).toBe('lost')
      await second.release()
    }
  })

  it('O-8: reads again, under the same ids, what was not settled when the relay died', async () => {
    await insert(db.pool, ...range(1, 30))
    const first = await lease('first')
    expect(await next(first, 10)).toEqual(range(1, 10))
    expect(await page(first, 10)).toEqual(range(11, 20))
    await db.pool.query("update outbox_shard set lease_until = '-infinity'")
    const second = await lease('second')
    expect(await next(second, 10)).toEqual(range(11, 20))
    expect(await next(second, 10)).toEqual(range(21, 30))
  })

  it('O-9: a relay that was paused past its lease settles, renews and releases nothing', async () => {
    await insert(db.pool, 'm1')
    const zombie = await lease('zombie', 1)
    expect(await page(zombie)).toEqual(['m1'])
    await pause(5)
    const successor = await lease('successor')
    expect(successor.epoch).toBeGreaterThan(zombie.epoch)
    expect(await zombie.settle([{ position: '1', error: 'no' }])).toBe('lost')
    expect(await zombie.renew()).toBe('lost')
    await zombie.release()
    expect(await db.pool.query('select * from outbox_dead')).toMatchObject({ rows: [] })
    expect(await next(successor)).toEqual(['m1'])
  })

  it('O-16: nobody gets a shard before its lease has run out, somebody does right after', async () => {
    await lease('a', 300)
    expect(await store.claim('b', 300, [])).toBeNull()
    await pause(310)
    expect(await store.claim('b', 300, [])).not.toBeNull()
  })

  it('O-7: sets a refused row aside in the statement that moves on, and only under its own epoch', async () => {
    await insert(db.pool, 'm1', 'bad', 'm3')
    const held = await lease()
    const rows = (await held.read(10, 1e6)) as readonly OutboxRow[]
    expect(await held.settle([{ position: rows[1]?.position ?? '', error: 'too large' }])).toBe('ok')
    const dead = await db.pool.query('select message_id, error, convert_from(payload, $1) body from outbox_dead', [
      'utf8',
    ])
    expect(dead.rows).toEqual([{ message_id: 'bad', error: 'too large', body: 'bad' }])
    expect(await next(held)).toEqual([])
  })

  it('O-19: a page is bounded by bytes as well, and a single row that is larger still comes', async () => {
    await db.pool.query(
      `insert into outbox (topic, key, type, message_id, payload)
       select 'orders', 'a', 't', 'm' || n, decode(repeat('00', case n when 3 then 5000 else 1000 end), 'hex') from generate_series(1, 6) n`,
    )
    const held = await lease()
    const sizes: number[] = []
    const seen: string[] = []
    for (;;) {
      const ids = await page(held, 100, 2000)
      if (ids.length === 0) break
      await held.settle([])
      sizes.push(ids.length)
      seen.push(...ids)
    }
    expect(seen).toEqual(range(1, 6))
    expect(Math.max(...sizes)).toBeLessThanOrEqual(3)
  })

  it('O-19: tells how much there is that takes more than one page, and when that is over', async () => {
    const told: Events['outbox-window'][] = []
    const end = subscribe('outbox-window', (event) => told.push(event))
    const held = await lease()
    await insert(db.pool, ...range(1, 3))
    await next(held, 3)
    expect(told).toEqual([])
    await insert(db.pool, ...range(4, 10))
    await next(held, 3)
    expect(told).toEqual([{ shard: 0, messages: 7 }])
    for (let rest = 0; rest < 3; rest++) await next(held, 3)
    end()
    expect(told).toEqual([
      { shard: 0, messages: 7 },
      { shard: 0, messages: 0 },
    ])
  })

  it('O-14: draws ids one by one and orders by nothing else', async () => {
    const sequence = await db.pool.query("select seqcache::int from pg_sequence where seqrelid = 'outbox_id'::regclass")
    expect(sequence.rows).toEqual([{ seqcache: 1 }])
    await insert(db.pool, 'm1', 'm2')
    await db.pool.query("update outbox set created_at = now() - interval '1 day' where message_id = 'm2'")
    expect(await next(await lease())).toEqual(['m1', 'm2'])
  })

  it('O-27: with flushedOnly, holds what is not on the disk yet', async () => {
    store = postgresOutboxStore(db.pool, { schema: db.schema, flushedOnly: true })
    const held = await lease()
    const client = await db.connect()
    await client.query('set synchronous_commit = off')
    for (let n = 0; n < 20; n++) {
      await insert(client, `m${n}`)
      const before = await client.query<{ lsn: string }>('select pg_current_wal_insert_lsn()::text lsn')
      expect(await next(held)).toEqual([`m${n}`])
      const flushed = await client.query<{ ok: boolean }>('select pg_current_wal_flush_lsn() >= $1::pg_lsn ok', [
        before.rows[0]?.lsn,
      ])
      expect(flushed.rows).toEqual([{ ok: true }])
    }
    // Without the option they are visible, and read, before they are flushed.
    store = postgresOutboxStore(db.pool, { schema: db.schema })
    await held.release()
    const hasty = await lease('hasty')
    let early = 0
    for (let n = 0; n < 200 && early === 0; n++) {
      await insert(client, `n${n}`)
      const before = await client.query<{ lsn: string }>('select pg_current_wal_insert_lsn()::text lsn')
      expect(await page(hasty)).toContain(`n${n}`)
      const flushed = await client.query<{ ok: boolean }>('select pg_current_wal_flush_lsn() >= $1::pg_lsn ok', [
        before.rows[0]?.lsn,
      ])
      if (flushed.rows[0]?.ok === false) early++
    }
    expect(early).toBe(1)
  })

  it('O-27: with flushedOnly, holds a window of many pages until all of it is on the disk', async () => {
    let onDisk = false
    // Nothing but a crash tells the difference: here the server says when it has written.
    const slowDisk = {
      connect: () => db.pool.connect(),
      async query(text: string, values: unknown[]) {
        if (text === db.statements.flushed && !onDisk) return { rows: [{ flushed: false }], rowCount: 1 }
        return db.pool.query(text, values)
      },
    } as unknown as pg.Pool
    store = postgresOutboxStore(slowDisk, { schema: db.schema, flushedOnly: true })
    const held = await lease()
    await insert(db.pool, ...range(1, 30))
    let seen: string[] = []
    const reading = page(held, 10).then((ids) => (seen = ids))
    await pause(100)
    expect(seen).toEqual([])
    onDisk = true
    await reading
    expect(seen).toEqual(range(1, 10))
  })

  it('delayed messages come when they are due, in that order, moved once even by a relay that has lost the shard', async () => {
    await db.pool.query(
      `insert into outbox_delayed (topic, key, type, message_id, due_at)
       select 'orders', 'a', 't', 'd' || n, now() - n * interval '1 s' from generate_series(1, 5) n
       union all select 'orders', 'a', 't', 'later', now() + interval '1 hour'`,
    )
    const zombie = await lease('zombie', 1)
    await pause(5)
    const held = await lease('held')
    expect(await zombie.moveDue(10)).toBe(0)
    expect(await held.moveDue(3)).toBe(3)
    expect(await held.moveDue(10)).toBe(2)
    expect(await held.moveDue(10)).toBe(0)
    expect(await next(held)).toEqual(['d5', 'd4', 'd3', 'd2', 'd1'])
  })

  it('O-12: a transaction that wrote to a partition keeps it from being cleaned, and only that one', async () => {
    const slot = (n: number): Promise<unknown> =>
      db.pool.query(
        `create or replace function outbox_slot() returns smallint language sql stable as 'select ${n}::smallint'`,
      )
    await slotsByFunction(db)
    await slot(0)
    const open = await writer()
    await insert(open, 'open')
    await insert(db.pool, 'm1')
    await slot(1)
    await insert(db.pool, 'm2')
    await slot(2)
    const held = await lease()
    expect(await next(held)).toEqual(['m1', 'm2'])
    await held.release()
    expect(await store.rotate()).toEqual([
      { slot: 0, result: 'locked' },
      { slot: 1, result: 'cleaned' },
    ])
    await open.query('commit')
    expect(await store.rotate()).toContainEqual({ slot: 0, result: 'busy' })
    const again = await lease()
    expect(await next(again)).toEqual(['open'])
    expect(await store.rotate()).toContainEqual({ slot: 0, result: 'cleaned' })
  })

  it('O-15: never cleans what is unread, nor where a shard is missing that could say so', async () => {
    await db.pool.query('alter table outbox alter slot set default 0')
    await db.pool.query(
      `create or replace function outbox_slot() returns smallint language sql stable as 'select 2::smallint'`,
    )
    await insert(db.pool, 'm1')
    expect(await store.rotate()).toContainEqual({ slot: 0, result: 'busy' })
    await db.pool.query('delete from outbox_shard')
    expect(await store.rotate()).toContainEqual({ slot: 0, result: 'busy' })
    expect((await db.pool.query('select message_id from outbox')).rows).toEqual([{ message_id: 'm1' }])
  })

  it('ADOPT with a snapshot of its own transaction id: loses the writer that is older than it', async () => {
    for (const broken of [true, false]) {
      await db.pool.query("update outbox_shard set cluster = 'another'")
      const older = await writer()
      await older.query('select pg_current_xact_id()')
      const adopting = await adoptOutbox(db.pool, { schema: db.schema })
      expect(adopting.adopted).toBe(true)
      if (broken)
        await db.pool.query("update outbox_shard set snapshot = (xmin::text || ':' || xmin::text || ':')::pg_snapshot")
      await insert(older, `older-${broken}`)
      await older.query('commit')
      const held = await lease()
      expect(await next(held)).toEqual(broken ? [] : ['older-true', 'older-false'])
      await held.release()
    }
  })

  it('another number of shards waits until everything is published, and changes nothing where it is not', async () => {
    await insert(db.pool, 'm1')
    await expect(changeOutboxShards(db.pool, { schema: db.schema, shards: 8, drainMs: 100 })).rejects.toThrow(
      'changeOutboxShards: the relays have not published everything within 100 ms; nothing was changed',
    )
    const held = await lease()
    const changing = changeOutboxShards(db.pool, { schema: db.schema, shards: 8 })
    await pause(50)
    const late = insert(db.pool, 'm2')
    expect(await next(held)).toEqual(['m1'])
    await changing
    await late
    expect(await held.settle([])).toBe('lost')
    const found: string[] = []
    for (const holding: number[] = []; holding.length < 8;) {
      const each = await store.claim('b', 10_000, holding)
      if (each === null) throw new Error('no shard')
      holding.push(each.shard)
      found.push(...(await next(each)))
    }
    expect(found).toEqual(['m2'])
  })
})
