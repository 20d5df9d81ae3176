import type pg from 'pg'
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { OutboxLease } from '../../src/outbox/store.ts'
import { systemClock } from '../../src/core/clock.ts'
import { changeOutboxShards } from '../../src/stores/postgres/outbox/operations.ts'
import { rotateOutbox } from '../../src/stores/postgres/outbox/rotation.ts'
import { postgresOutboxStore } from '../../src/stores/postgres/outbox/store.ts'
import { describeOnBoth, outboxDatabase, pause, type OutboxDatabase, slotsByFunction } from './support.ts'

// Each race runs in a tight loop until the broken way has failed; ours runs at the same time or for as long.
const longestMs = 20_000
// A busy machine takes longer for as many: the race goes on until they are there.
const enoughMessages = 100

interface Seen {
  lost: number
  outOfOrder: number
}

describeOnBoth('races of the outbox', (url) => {
  let db: OutboxDatabase

  beforeEach(async () => {
    db = await outboxDatabase(url())
    await changeOutboxShards(db.pool, { schema: db.schema, shards: 1 })
  })
  afterEach(async () => {
    await db.dispose()
  })

  async function lease(): Promise<OutboxLease> {
    const store = postgresOutboxStore(db.pool, { schema: db.schema, persistEveryMs: 0 })
    const claimed = await store.claim('relay', 120_000, [])
    if (claimed === null) throw new Error('the shard is held')
    return claimed
  }

  /** Transactions on four keys; the number of a message says in which order its key's lock was held. */
  async function write(stop: AbortSignal, committed: string[]): Promise<void> {
    const client = await db.connect()
    while (!stop.aborted) {
      const key = Math.floor(Math.random() * 4)
      await client.query('begin')
      if (Math.random() < 0.6) await client.query('insert into elsewhere values (1)')
      if (Math.random() < 0.3) await pause(Math.random() * 4)
      const { rows } = await client.query<{ n: number }>('update counter set n = n + 1 where key = $1 returning n', [
        key,
      ])
      const id = `${key}:${rows[0]?.n}`
      await client.query("insert into outbox (topic, key, type, message_id) values ('orders', $1, 't', $2)", [
        String(key),
        id,
      ])
      if (Math.random() < 0.3) await pause(Math.random() * 4)
      if (Math.random() < 0.1) await client.query('rollback')
      else {
        await client.query('commit')
        committed.push(id)
      }
    }
  }

  function judged(committed: readonly string[], seen: readonly string[]): Seen {
    const found = new Set(seen)
    const last = new Map<string, number>()
    let outOfOrder = 0
    for (const id of found) {
      const [key = '', n] = id.split(':')
      if (Number(n) < (last.get(key) ?? 0)) outOfOrder++
      last.set(key, Number(n))
    }
    return { lost: committed.filter((id) => !found.has(id)).length, outOfOrder }
  }

  it('O-1, O-2: "id > cursor" loses and order by transaction reorders, while windows do neither', async () => {
    await db.pool.query('create table elsewhere (n int); create table counter (key int primary key, n int)')
    await db.pool.query('insert into counter select n, 0 from generate_series(0, 3) n')
    const stop = new AbortController()
    const committed: string[] = []
    const ours: string[] = []
    const naive: string[] = []
    const byTransaction: string[] = []

    /** Reads until a whole round after the end of the writing finds nothing. */
    async function reader(read: () => Promise<number>): Promise<void> {
      for (let quiet = 0; quiet < 3;) {
        quiet = (await read()) === 0 && stop.signal.aborted ? quiet + 1 : 0
        await pause(1)
      }
    }
    const held = await lease()
    let cursor = '0'
    let from = '0'
    const readers = [
      reader(async () => {
        const rows = await held.read(20, 1e6)
        if (rows === 'lost') throw new Error('lost')
        ours.push(...rows.map(({ id }) => id))
        await held.settle([])
        return rows.length
      }),
      reader(async () => {
        const { rows } = await db.pool.query<{ id: string; message_id: string }>(
          'select id::text, message_id from outbox where id > $1 order by id limit 20',
          [cursor],
        )
        naive.push(...rows.map((row) => row.message_id))
        cursor = rows.at(-1)?.id ?? cursor
        return rows.length
      }),
      reader(async () => {
        const { rows } = await db.pool.query<{ txid: string; message_id: string }>(
          `select txid::text, message_id from outbox
           where txid > $1::text::xid8 and txid < pg_snapshot_xmin(pg_current_snapshot()) order by txid, id limit 500`,
          [from],
        )
        byTransaction.push(...rows.map((row) => row.message_id))
        from = rows.at(-1)?.txid ?? from
        return rows.length
      }),
    ]
    const writers = Array.from({ length: 6 }, () => write(stop.signal, committed))
    const end = Date.now() + longestMs
    while (Date.now() < end) {
      await pause(500)
      const already = [...committed]
      await pause(200)
      const enough = already.length > enoughMessages
      if (enough && judged(already, naive).lost > 0 && judged(already, byTransaction).outOfOrder > 0) break
    }
    stop.abort()
    await Promise.all([...writers, ...readers])
    expect(judged(committed, naive).lost).toBeGreaterThan(0)
    expect(judged(committed, byTransaction).outOfOrder).toBeGreaterThan(0)
    expect(judged(committed, ours)).toEqual({ lost: 0, outOfOrder: 0 })
    expect(new Set(ours).size).toBe(ours.length)
    expect(committed.length).toBeGreaterThan(enoughMessages)
  })

  /** Bursts into one partition, read as they come, while it is cleaned as often as can be. */
  async function cleaning(clean: (client: pg.Client) => Promise<string>, enough: (lost: number) => boolean) {
    await slotsByFunction(db)
    await db.pool.query(
      `create or replace function outbox_slot() returns smallint language sql stable as 'select 1::smallint'`,
    )
    const held = await lease()
    const stop = new AbortController()
    const committed = new Set<string>()
    const seen = new Set<string>()
    let writing = true
    let n = 0
    let cleaned = 0

    async function writer(): Promise<void> {
      const client = await db.connect()
      while (!stop.signal.aborted) {
        // A partition that is written all the time is never cleaned: write in bursts.
        if (Date.now() % 30 > 12) {
          await pause(1)
          continue
        }
        const id = String(n++)
        await client.query('begin')
        await client.query("insert into outbox (topic, type, message_id) values ('orders', 't', $1)", [id])
        if (Math.random() < 0.3) await pause(Math.random() * 3)
        await client.query('commit')
        committed.add(id)
        await pause(Math.random() * 2)
      }
    }
    async function reader(): Promise<void> {
      for (let quiet = 0; quiet < 5;) {
        const rows = await held.read(1000, 1e6)
        if (rows === 'lost') throw new Error('lost')
        for (const { id } of rows) seen.add(id)
        await held.settle([])
        quiet = rows.length === 0 && !writing ? quiet + 1 : 0
        await pause(Math.random() * 3)
      }
    }
    async function cleaner(): Promise<void> {
      const client = await db.connect()
      while (!stop.signal.aborted) {
        if ((await clean(client)) === 'cleaned') cleaned++
        await pause(Math.random() * 2)
      }
    }
    const writers = Array.from({ length: 4 }, writer)
    const others = [reader(), cleaner(), cleaner()]
    const end = Date.now() + longestMs
    const lost = (): number => [...committed].filter((id) => !seen.has(id)).length
    while (Date.now() < end) {
      await pause(300)
      const before = [...committed]
      await pause(150)
      if (enough(before.filter((id) => !seen.has(id)).length)) break
    }
    stop.abort()
    await Promise.all(writers)
    writing = false
    await Promise.all(others)
    return { lost: lost(), committed: committed.size, cleaned }
  }

  it('O-11: TRUNCATE without a guard loses rows', async () => {
    const result = await cleaning(
      async (client) => {
        await client.query('begin')
        const locked = await client.query('lock table only outbox_1 in access exclusive mode nowait').catch(() => null)
        if (locked !== null) await client.query('truncate only outbox_1')
        await client.query(locked === null ? 'rollback' : 'commit')
        return locked === null ? 'locked' : 'cleaned'
      },
      (lost) => lost > 0,
    )
    expect(result.lost).toBeGreaterThan(0)
  })

  it('O-25: a guard whose snapshot is older than its lock loses rows', async () => {
    const result = await cleaning(
      async (client) => {
        await client.query('begin isolation level repeatable read')
        try {
          await client.query("select set_config('lock_timeout', '50ms', true)")
          await client.query('lock table only outbox_1 in access exclusive mode')
          const { rows } = await client.query<{ busy: boolean }>(db.statements.busy(1))
          if (rows[0]?.busy === true) throw new Error('busy')
          await client.query('truncate only outbox_1')
          await client.query('commit')
          return 'cleaned'
        } catch {
          await client.query('rollback')
          return 'not'
        }
      },
      (lost) => lost > 0,
    )
    expect(result.lost).toBeGreaterThan(0)
  })

  it('O-11, O-25: ours cleans as often and loses none', async () => {
    const run = (text: string, values: unknown[]) => db.pool.query(text, values)
    // The partition in use is the one to clean here: the guard alone must do.
    const statements = {
      ...db.statements,
      slots: db.statements.slots.replace(`"${db.schema}".outbox_slot()::int`, '0'),
    }
    const started = Date.now()
    let cleanings = 0
    const result = await cleaning(
      async () => {
        const rotations = await rotateOutbox(db.pool, run, statements, systemClock)
        const done = rotations.find(({ slot }) => slot === 1)?.result ?? 'none'
        if (done === 'cleaned') cleanings++
        return done
      },
      // A busy machine takes longer for as many.
      () => cleanings > 10 && Date.now() - started > 3000,
    )
    expect(result.lost).toBe(0)
    expect(result.cleaned).toBeGreaterThan(10)
    expect(result.committed).toBeGreaterThan(500)
  })

  it('"lock_timeout" behind a long reader makes every poll wait; NOWAIT does not', async () => {
    await db.pool.query("insert into outbox (slot, topic, type, message_id) values (1, 'orders', 't', 'm')")
    const reader = await db.connect()
    await reader.query('begin')
    await reader.query('select count(*) from outbox')
    const poll = await db.connect()
    await poll.query("set statement_timeout = '100ms'")
    const polled = () =>
      poll.query('select count(*) from outbox').then(
        () => 'read',
        (error: { code: string }) => error.code,
      )

    const waiting = await db.connect()
    await waiting.query("begin; set local lock_timeout = '2s'")
    const lock = waiting.query('lock table only outbox_1 in access exclusive mode').catch(() => null)
    await pause(50)
    expect(await polled()).toBe('57014')
    await waiting.query('rollback').catch(() => null)
    await lock

    const run = (text: string, values: unknown[]) => db.pool.query(text, values)
    await db.pool.query('update outbox_shard set snapshot = pg_current_snapshot()')
    await db.pool.query(
      `create or replace function outbox_slot() returns smallint language sql stable as 'select 0::smallint'`,
    )
    const rotating = rotateOutbox(db.pool, run, db.statements, systemClock)
    for (let n = 0; n < 10; n++) expect(await polled()).toBe('read')
    expect(await rotating).toContainEqual({ slot: 1, result: 'locked' })
    await reader.query('commit')
  })
})
