import type pg from 'pg'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { postgresOutbox } from '../../src/stores/postgres/outbox/outbox.ts'
import { describeOnBoth, outboxDatabase, pause, type OutboxDatabase } from './support.ts'

// The order promise, and each way to miss it: see docs/outbox/order.md.
describeOnBoth('O-26: the order of one key', (url) => {
  let db: OutboxDatabase

  beforeEach(async () => {
    db = await outboxDatabase(url())
    await db.pool.query(`create table counter (key text primary key, n int not null);
      insert into counter values ('a', 0);
      create table child (key text references counter, n int);
      create table event (key text primary key, n int not null);
      create sequence turn;
      create function announce() returns trigger language plpgsql as $$ begin
        insert into outbox (topic, key, type, message_id) values ('orders', 'a', 't', new.n::text); return new; end $$`)
  })
  afterEach(async () => {
    await db.dispose()
  })

  const outbox = () => postgresOutbox({ schema: db.schema })

  const count = async (client: pg.Client): Promise<string> => {
    const { rows } = await client.query<{ n: number }>("update counter set n = n + 1 where key = 'a' returning n")
    return String(rows[0]?.n)
  }

  /** How often a message stood behind one whose lock was taken later; stops early where that is what is wanted. */
  async function outOfOrder(
    work: (client: pg.Client) => Promise<void>,
    { wanted }: { wanted: boolean },
  ): Promise<number> {
    const end = Date.now() + (wanted ? 20_000 : 2500)
    let stop = false
    async function writer(): Promise<void> {
      const client = await db.connect()
      while (Date.now() < end && !stop) {
        try {
          await client.query('begin')
          await work(client)
          if (Math.random() < 0.3) await pause(1)
          await client.query('commit')
        } catch {
          await client.query('rollback')
        }
      }
    }
    async function judge(): Promise<number> {
      const { rows } = await db.pool.query<{ bad: number; n: number }>(
        `select count(*) filter (where n < before)::int bad, count(*)::int n from (
           select message_id::int n, lag(message_id::int) over (order by id) before from outbox) o`,
      )
      if ((rows[0]?.n ?? 0) < 50) return 0
      return rows[0]?.bad ?? 0
    }
    const writers = Array.from({ length: 6 }, writer)
    while (wanted && Date.now() < end && (await judge()) === 0) await pause(200)
    stop = wanted
    await Promise.all(writers)
    const { rows } = await db.pool.query<{ n: number }>('select count(*)::int n from outbox')
    expect(rows[0]?.n).toBeGreaterThan(50)
    return judge()
  }

  it('is kept where the row of the key is updated before the message is added', async () => {
    const bad = await outOfOrder(
      async (client) => {
        await outbox().add(client, { id: await count(client), destination: 'orders', key: 'a', body: null })
      },
      { wanted: false },
    )
    expect(bad).toBe(0)
  })

  it('is lost where the lock comes after the message', async () => {
    const bad = await outOfOrder(
      async (client) => {
        const { rows } = await client.query<{ id: string }>(
          "insert into outbox (topic, key, type, message_id) values ('orders', 'a', 't', '0') returning id::text",
        )
        await client.query('update outbox set message_id = $1 where id = $2', [await count(client), rows[0]?.id])
      },
      { wanted: true },
    )
    expect(bad).toBeGreaterThan(0)
  })

  it('is lost where a BEFORE INSERT trigger of an upsert adds the message', async () => {
    await db.pool.query('create trigger t before insert on event for each row execute function announce()')
    const bad = await outOfOrder(
      async (client) => {
        const { rows } = await client.query<{ n: number }>(
          "insert into event values ('a', 1) on conflict (key) do update set n = event.n + 1 returning n",
        )
        await client.query('update outbox set message_id = $1 where txid = pg_current_xact_id()', [String(rows[0]?.n)])
      },
      { wanted: true },
    )
    expect(bad).toBeGreaterThan(0)
  })

  it('is kept where a BEFORE UPDATE trigger adds it, since the row is locked by then', async () => {
    await db.pool.query('create trigger t before update on counter for each row execute function announce()')
    const bad = await outOfOrder(async (client) => void (await count(client)), { wanted: false })
    expect(bad).toBe(0)
  })

  // A foreign key locks its parent FOR KEY SHARE, which does not conflict with itself. The order to be kept is that of
  // the commits, taken down under a lock at the very end of each transaction.
  const child = async (client: pg.Client, strictOrder: boolean): Promise<void> => {
    await client.query("insert into child values ('a', 1)")
    await outbox().add(client, { id: '0', destination: 'orders', key: 'a', body: null }, { strictOrder })
    await pause(Math.random() * 3)
    const { rows } = await client.query<{ n: string }>("select nextval('turn')::text n from pg_advisory_xact_lock(1)")
    await client.query('update outbox set message_id = $1 where txid = pg_current_xact_id()', [rows[0]?.n])
  }

  it('is lost where only a foreign key is common to the writers', async () => {
    expect(await outOfOrder((client) => child(client, false), { wanted: true })).toBeGreaterThan(0)
  })

  it('is kept by strictOrder where nothing else serialises the writers', async () => {
    expect(await outOfOrder((client) => child(client, true), { wanted: false })).toBe(0)
  })

  it('strictOrder draws the ids of many messages once all their locks are held, without deadlock', async () => {
    const keys = ['a', 'b', 'c', 'd']
    const clients = await Promise.all(Array.from({ length: 6 }, () => db.connect()))
    const end = Date.now() + 2000
    await Promise.all(
      clients.map(async (client) => {
        while (Date.now() < end) {
          await client.query('begin')
          const shuffled = keys.toSorted(() => Math.random() - 0.5)
          await outbox().add(
            client,
            shuffled.map((key) => ({ id: key, destination: 'orders', key, body: null })),
            { strictOrder: true },
          )
          const { rows } = await client.query<{ n: string }>("select nextval('turn')::text n")
          await client.query("update outbox set message_id = $1 where txid = pg_current_xact_id() and key = 'a'", [
            rows[0]?.n,
          ])
          await client.query('commit')
        }
      }),
    )
    const { rows } = await db.pool.query<{ bad: number; n: number }>(
      `select count(*) filter (where n < before)::int bad, count(*)::int n from (
         select message_id::int n, lag(message_id::int) over (order by id) before from outbox where key = 'a') o`,
    )
    expect(rows[0]?.n).toBeGreaterThan(50)
    expect(rows[0]?.bad).toBe(0)
  })

  it('locks for a whole outbox that is made with strictOrder, unless a call says otherwise', async () => {
    const strict = postgresOutbox({ schema: db.schema, strictOrder: true })
    const client = await db.connect()
    const locks = async (): Promise<number> => {
      const { rows } = await client.query<{ n: number }>(
        "select count(*)::int n from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
      )
      return rows[0]?.n ?? 0
    }
    const message = { destination: 'orders', key: 'a', body: null }
    for (const [add, held] of [
      [() => strict.add(client, message), 1],
      [() => strict.add(client, { ...message, delayUntil: Date.now() + 60_000 }), 1],
      [() => strict.add(client, [message, { ...message, key: 'b' }]), 2],
      // Without a key there is no order to keep.
      [() => strict.add(client, { ...message, key: null }), 0],
      [() => strict.add(client, message, { strictOrder: false }), 0],
      [() => outbox().add(client, message), 0],
    ] as const) {
      await client.query('begin')
      await add()
      expect(await locks()).toBe(held)
      await client.query('rollback')
    }
  })

  // Why it is not the default.
  it('strictOrder deadlocks two transactions that add two keys in two calls, in opposite orders', async () => {
    const strict = postgresOutbox({ schema: db.schema, strictOrder: true })
    const [one, other] = [await db.connect(), await db.connect()]
    const add = (client: pg.Client, key: string) => strict.add(client, { destination: 'orders', key, body: null })
    for (const client of [one, other]) await client.query("begin; set local deadlock_timeout = '50ms'")
    await add(one, 'a')
    await add(other, 'b')
    const answers = await Promise.allSettled([add(one, 'b'), add(other, 'a')])
    const failures = answers.filter((answer) => answer.status === 'rejected').map(({ reason }) => reason as unknown)
    expect(failures).toEqual([expect.objectContaining({ code: '40P01' })])
    for (const client of [one, other]) await client.query('rollback')
  })

  it('strictOrder locks the keys of many statements in one order too', async () => {
    const delayUntil = Date.now() + 60_000
    const many = Array.from({ length: 1001 }, (_, n) => `k${n}`)
    const messages = (keys: readonly string[], delayed: string | null) =>
      keys.map((key) => ({ destination: 'orders', key, body: null, ...(key === delayed ? { delayUntil } : {}) }))
    const lists = [
      // A delayed message goes to another table than its neighbour, and the 1,001st message to another statement.
      [messages(['a', 'b'], 'a'), messages(['b', 'a'], 'a')],
      [messages(many, null), messages(many.toReversed(), null)],
    ]
    const slow = postgresOutbox<pg.Client>({
      schema: db.schema,
      async via(tx, text, values) {
        const result = await tx.query(text, values)
        await pause(100)
        return result
      },
    })
    for (const pair of lists) {
      const writing = pair.map(async (list) => {
        const client = await db.connect()
        await client.query('begin')
        await slow.add(client, list, { strictOrder: true })
        await client.query('commit')
      })
      expect(await Promise.allSettled(writing)).toEqual(writing.map(() => ({ status: 'fulfilled', value: undefined })))
    }
    const { rows } = await db.pool.query<{ n: number }>(
      'select (select count(*) from outbox)::int + (select count(*) from outbox_delayed)::int n',
    )
    expect(rows[0]?.n).toBe(4 + 2 * 1001)
  })
})
