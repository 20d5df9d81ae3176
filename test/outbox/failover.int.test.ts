import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterEach, expect, it } from 'vitest'
import { outboxRelay } from '../../src/outbox/relay.ts'
import type { OutboxLease, OutboxStore } from '../../src/outbox/store.ts'
import { migrate } from '../../src/stores/postgres/migrate.ts'
import { adoptOutbox, changeOutboxShards } from '../../src/stores/postgres/outbox/operations.ts'
import { parseSnapshot } from '../../src/stores/postgres/outbox/snapshot.ts'
import { outboxStatements } from '../../src/stores/postgres/outbox/statements.ts'
import { postgresOutboxStore } from '../../src/stores/postgres/outbox/store.ts'
import type { PoolClientSlice } from '../../src/stores/postgres/queryable.ts'
import { postgresUrl, uniqueName } from '../support/services.ts'
import { describeUnless } from '../support/skipped.ts'
import { server, tool, toolsDir, type Server } from './standby.ts'
import { outboxDatabase, pause, target, until } from './support.ts'

const reason = toolsDir === undefined ? 'the programs of PostgreSQL (pg_ctl and others) are not installed' : undefined

describeUnless(reason, 'another server than the one before', () => {
  const servers: Server[] = []
  const pools: pg.Pool[] = []

  afterEach(async () => {
    await Promise.all(pools.splice(0).map((pool) => pool.end()))
    await Promise.all(servers.splice(0).map((each) => each.dispose()))
  })

  function poolOf(url: string): pg.Pool {
    const pool = new pg.Pool({ connectionString: url, max: 4 })
    pool.on('error', () => {})
    pools.push(pool)
    return pool
  }

  const schema = 'holdfast'
  const statements = outboxStatements('"holdfast"')
  const insert = (pool: pg.Pool | pg.PoolClient, ...ids: string[]): Promise<unknown> =>
    pool.query(
      `insert into holdfast.outbox (topic, key, type, message_id) select 'orders', 'a', 't', id from unnest($1::text[]) id`,
      [ids],
    )

  /** Rows that OPEN finds with a given snapshot. */
  async function opened(pool: pg.Pool, snapshot: string, shard = 0): Promise<number> {
    const { xmax, running } = parseSnapshot(snapshot)
    const { rows } = await pool.query<{ branch: number }>(statements.open, [shard, xmax, running, 1001, 1e9])
    return rows.filter(({ branch }) => branch !== 0).length
  }

  it(
    'O-21: a dump restored where transaction ids are lower is seen, refused, and complete after adopting',
    { timeout: 180_000 },
    async () => {
      const old = await outboxDatabase(postgresUrl())
      await changeOutboxShards(old.pool, { schema: old.schema, shards: 1 })
      // Far ahead of a fresh server.
      const { rows } = await old.pool.query<{ xid: string }>('select pg_current_xact_id()::text xid')
      for (let n = Number(rows[0]?.xid); n < 6000; n++) await old.pool.query('select pg_current_xact_id()')
      const store = postgresOutboxStore(old.pool, { schema: old.schema, persistEveryMs: 0 })
      const before = await store.claim('before', 60_000, [])
      await old.pool.query("insert into outbox (topic, type, message_id) values ('orders', 't', 'settled')")
      await before?.read(10, 1e6)
      await before?.settle([])
      await before?.release()
      await old.pool.query("insert into outbox (topic, type, message_id) values ('orders', 't', 'unread')")

      const young = await server()
      servers.push(young)
      const dir = await mkdtemp(join(tmpdir(), 'holdfast-dump-'))
      const file = join(dir, 'dump.sql')
      await tool('pg_dump', ['-d', postgresUrl(), '-n', old.schema, '-f', file])
      await tool('psql', ['-q', '-v', 'ON_ERROR_STOP=1', '-d', young.url, '-f', file])
      await rm(dir, { recursive: true })
      const pool = poolOf(young.url)
      const there = old.schema
      const theirs = outboxStatements(`"${there}"`)
      await pool.query(
        `insert into ${there}.outbox (topic, type, message_id) select 'orders', 't', 'new ' || n from generate_series(1, 100) n`,
      )

      // Without the binding: the poll sees none of the new rows, and the guard would let them be truncated.
      const shard = await pool.query<{ snapshot: string }>(`select snapshot::text from ${there}.outbox_shard`)
      const { xmax, running } = parseSnapshot(shard.rows[0]?.snapshot ?? '')
      const seen = await pool.query<{ message_id: string; branch: number }>(theirs.open, [0, xmax, running, 1001, 1e9])
      expect(seen.rows.filter(({ branch, message_id }) => branch !== 0 && message_id.startsWith('new'))).toEqual([])
      const client = await pool.connect()
      await client.query('begin')
      await client.query(`delete from ${there}.outbox where message_id = 'unread'`)
      for (const slot of [0, 1, 2]) {
        const withoutBinding = theirs.busy(slot).replace(/^select .*? or exists/s, 'select exists')
        expect((await client.query<{ busy: boolean }>(withoutBinding)).rows).toEqual([{ busy: false }])
      }
      await client.query('rollback')
      client.release()

      const restored = postgresOutboxStore(pool, { schema: there })
      expect((await restored.attend('relay', 1000)).refused).toMatch(
        /was moved: .* runs adoptOutbox\(pool, \{ schema \}\)/,
      )
      expect(await restored.claim('relay', 1000, [])).toBeNull()
      expect((await restored.rotate()).every(({ result }) => result !== 'cleaned')).toBe(true)
      const to = target()
      const stop = new AbortController()
      const relay = outboxRelay({ store: restored, publisher: to, leaseMs: 1000 })
      const done = relay.run(stop.signal)
      await until(() => relay.health().details['refused'] !== null, 'reported')
      expect(relay.health().ready).toBe(false)
      expect(to.ids()).toEqual([])

      expect(await adoptOutbox(pool, { schema: there })).toEqual({ adopted: true, messages: 102 })
      await until(() => to.ids().length >= 102, 'published')
      expect(new Set(to.ids())).toEqual(
        new Set(['settled', 'unread', ...Array.from({ length: 100 }, (_, n) => `new ${n + 1}`)]),
      )
      expect(await adoptOutbox(pool, { schema: there })).toEqual({ adopted: false, messages: 0 })
      stop.abort()
      await done
      await old.dispose()
    },
  )

  it(
    'O-22: a hot standby shows no running transactions, so a window taken there would lose one; a relay refuses it',
    { timeout: 180_000 },
    async () => {
      const primary = await server()
      servers.push(primary)
      const pool = poolOf(primary.url)
      await migrate(pool, { schema })
      const replica = await primary.standby()
      servers.push(replica)
      const there = poolOf(replica.url)

      const open = await pool.connect()
      await open.query('begin')
      await insert(open, 'in flight')
      const { rows } = await open.query<{ xid: string }>('select pg_current_xact_id()::text xid')
      await insert(pool, 'later')
      const lsn = await pool.query<{ lsn: string }>('select pg_current_wal_lsn()::text lsn')
      await until(
        async () =>
          (await there.query<{ ok: boolean }>('select pg_last_wal_replay_lsn() >= $1::pg_lsn ok', [lsn.rows[0]?.lsn]))
            .rows[0]?.ok === true,
        'replayed',
      )
      const judged = await there.query<{ sn: string; visible: boolean }>(
        'select pg_current_snapshot()::text sn, pg_visible_in_snapshot($1::xid8, pg_current_snapshot()) visible',
        [rows[0]?.xid],
      )
      // It says "visible" of a transaction that is still open.
      expect(judged.rows[0]?.visible).toBe(true)
      await open.query('commit')
      open.release()
      expect(await opened(pool, judged.rows[0]?.sn ?? '')).toBe(0)

      await expect(postgresOutboxStore(there, { schema }).check()).rejects.toMatchObject({
        code: 'unavailable',
        message: 'outbox: this server is a standby: connect the relay to the primary',
      })
      const shard = await pool.query<{ snapshot: string }>('select snapshot::text from holdfast.outbox_shard limit 1')
      await expect(opened(there, shard.rows[0]?.snapshot ?? '')).rejects.toThrow(/recovery is in progress/)
      await expect(postgresOutboxStore(there, { schema }).claim('relay', 1000, [])).rejects.toMatchObject({
        code: 'unavailable',
      })
    },
  )

  it(
    'O-22: a promoted replica is seen by its timeline, and its new rows are read from what was stored',
    { timeout: 180_000 },
    async () => {
      const primary = await server()
      servers.push(primary)
      const old = poolOf(primary.url)
      await migrate(old, { schema })
      await changeOutboxShards(old, { schema, shards: 3 })
      const replica = await primary.standby()
      servers.push(replica)
      const promoted = poolOf(replica.url)

      // A pool whose address fails over, as behind a name that is moved.
      let now: pg.Pool = old
      const moving = {
        query: (text: string, values: unknown[]) => now.query(text, values),
        connect: () => now.connect(),
      } as unknown as pg.Pool & { connect(): Promise<PoolClientSlice> }
      const store: OutboxStore = postgresOutboxStore(moving, { schema, persistEveryMs: 60_000 })
      const leases: OutboxLease[] = []
      for (const held: number[] = []; held.length < 3;) {
        const claimed = await store.claim('relay', 60_000, held)
        if (claimed === null) throw new Error('no lease')
        held.push(claimed.shard)
        leases.push(claimed)
      }
      await insert(old, 'before')
      // Every row has one key, and so one shard.
      const { rows: places } = await old.query<{ shard: number }>('select shard from holdfast.outbox limit 1')
      const lease = leases.find(({ shard }) => shard === places[0]?.shard)
      const [settling, renewing] = leases.filter((each) => each !== lease)
      if (lease === undefined || settling === undefined || renewing === undefined) throw new Error('no lease')
      await lease.read(10, 1e6)
      await lease.settle([])
      await pause(300)
      // The replica falls behind; the relay goes on in memory.
      await promoted.query('select pg_wal_replay_pause()')
      for (let n = 0; n < 200; n++) await old.query('select pg_current_xact_id()')
      await lease.read(10, 1e6)
      const ahead = await old.query<{ sn: string }>('select pg_current_snapshot()::text sn')
      await primary.dispose()
      servers.splice(servers.indexOf(primary), 1)
      await promoted.query('select pg_wal_replay_resume()')
      await promoted.query('select pg_promote()')
      await until(
        async () => (await promoted.query<{ r: boolean }>('select pg_is_in_recovery() r')).rows[0]?.r === false,
        'promoted',
      )
      await insert(promoted, ...Array.from({ length: 20 }, (_, n) => `new ${n}`))

      // Carried over in memory, the old snapshot hides every new row, and the epoch is still the same.
      expect(await opened(promoted, ahead.rows[0]?.sn ?? '', lease.shard)).toBe(0)
      const epoch = await promoted.query<{ epoch: string }>(
        'select epoch::text from holdfast.outbox_shard where shard = $1',
        [lease.shard],
      )
      expect(BigInt(epoch.rows[0]?.epoch ?? 0)).toBe(lease.epoch)

      now = promoted
      // Each by itself: whatever the relay does first must find out.
      expect(await lease.read(10, 1e6)).toBe('lost')
      expect(await settling.settle([{ position: '0', error: 'refused' }])).toBe('lost')
      expect(await renewing.renew()).toBe('lost')
      expect((await store.attend('relay', 1000)).refused).toBeNull()
      const ids: string[] = []
      for (const held: number[] = []; held.length < 3;) {
        const again = await store.claim('relay', 60_000, held)
        const rows = await again?.read(100, 1e6)
        if (again === null || rows === undefined || rows === 'lost') throw new Error('no lease')
        held.push(again.shard)
        ids.push(...rows.map(({ id }) => id))
      }
      expect(ids.filter((id) => id.startsWith('new'))).toHaveLength(20)
    },
  )

  it('publishes across restarts of the server, soft and hard', { timeout: 180_000 }, async () => {
    const name = uniqueName('restart')
    const { privatePostgres } = await import('../support/private-servers.ts')
    const own = await privatePostgres()
    const pool = poolOf(own.url)
    await migrate(pool, { schema })
    const to = target()
    const stop = new AbortController()
    const done = outboxRelay({
      store: postgresOutboxStore(pool, { schema }),
      ...{ publisher: to, leaseMs: 1000, name },
    }).run(stop.signal)
    for (const how of ['SIGINT', 'SIGKILL'] as const) {
      await insert(pool, `before ${how}`)
      await until(() => to.ids().includes(`before ${how}`), 'before')
      if (how === 'SIGINT') await own.stop()
      else await own.kill('SIGKILL')
      await own.start()
      await until(
        () =>
          insert(pool, `after ${how}`).then(
            () => true,
            () => false,
          ),
        'up again',
      )
      await until(() => to.ids().includes(`after ${how}`), 'after')
    }
    stop.abort()
    await done
    await own.dispose()
  })
})
