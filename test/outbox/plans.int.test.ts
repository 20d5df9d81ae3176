import { afterEach, beforeEach, expect, it } from 'vitest'
import { changeOutboxShards } from '../../src/stores/postgres/outbox/operations.ts'
import { describeOnBoth, outboxDatabase, type OutboxDatabase } from './support.ts'

// Speed shown by what a statement reads, not by the time it takes.
describeOnBoth('O-23: what the statements of a relay read', (url) => {
  let db: OutboxDatabase

  beforeEach(async () => {
    db = await outboxDatabase(url())
    await changeOutboxShards(db.pool, { schema: db.schema, shards: 1 })
  })
  afterEach(async () => {
    await db.dispose()
  })

  interface Plan {
    readonly 'Node Type': string
    readonly 'Actual Rows': number
    readonly 'Actual Loops': number
    readonly 'Rows Removed by Filter'?: number
    readonly 'Shared Hit Blocks': number
    readonly 'Shared Read Blocks': number
    readonly Plans?: readonly Plan[]
  }

  /** Rows that its scans went through, and blocks that it looked at. */
  async function reads(text: string, values: unknown[]): Promise<{ rows: number; blocks: number }> {
    const { rows } = await db.pool.query<{ 'QUERY PLAN': readonly { readonly Plan: Plan }[] }>(
      `explain (analyze, buffers, timing off, format json) ${text}`,
      values,
    )
    const plan = rows[0]?.['QUERY PLAN'][0]?.Plan
    if (plan === undefined) throw new Error('no plan')
    const scanned = (node: Plan): number => {
      const own = /^(Seq|Index|Index Only|Bitmap Heap) Scan$/.test(node['Node Type'])
      const here = own ? (node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0)) * node['Actual Loops'] : 0
      return here + (node.Plans ?? []).reduce((sum, each) => sum + scanned(each), 0)
    }
    return { rows: scanned(plan), blocks: plan['Shared Hit Blocks'] + plan['Shared Read Blocks'] }
  }

  const fill = (count: number): Promise<unknown> =>
    db.pool.query(
      `insert into outbox (topic, key, type, message_id, payload)
       select 'orders', 'k' || n % 100, 't', n::text, decode(repeat('00', 200), 'hex') from generate_series(1, $1::int) n`,
      [count],
    )

  async function window() {
    const { rows } = await db.pool.query<{ lo: string; hi: string; now: string; held: string }>(
      `select (select min(id) from outbox)::text lo, (select max(id) from outbox)::text hi,
         pg_current_snapshot()::text now, (select snapshot::text from outbox_shard) held`,
    )
    const [row] = rows
    if (row === undefined) throw new Error('no window')
    return row
  }

  it('a page reads as much at the end of a large window as at its beginning', async () => {
    await fill(60_000)
    const { lo, hi, now, held } = await window()
    const at = (part: number) => String(BigInt(lo) + BigInt(Math.floor((Number(hi) - Number(lo)) * part)))
    for (const part of [0, 0.5, 0.9]) {
      const page = await reads(db.statements.page, [0, at(part), now, held, 500, 1e9, hi])
      expect(page.rows).toBeLessThan(500 * 4)
      expect(page.blocks).toBeLessThan(400)
    }
    // Asked for in the plain way, the planner expects few rows, and sorts all that are left.
    const plain = 'select id from outbox where shard = $1 and id > $2 order by id limit $3'
    expect((await reads(plain, [0, at(0.1), 500])).rows).toBeGreaterThan(50_000)
    await db.pool.query('drop index outbox_order; create index on outbox (shard, txid, id)')
    const sorting = `select id from outbox where shard = $1 and id > $2 and txid >= pg_snapshot_xmax($3::pg_snapshot)
      order by id limit 500`
    expect((await reads(sorting, [0, at(0.5), held])).rows).toBeGreaterThan(25_000)
  })

  it('judging inside the limited scan goes through the whole range; scan, then judge reads a page of it', async () => {
    await fill(60_000)
    const before = await window()
    await fill(10)
    const { hi, now } = await window()
    const inside = `select id from outbox where shard = $1 and id > $2 and id <= $3
      and pg_visible_in_snapshot(txid, $4::pg_snapshot) and not pg_visible_in_snapshot(txid, $5::pg_snapshot)
      order by id limit 500`
    expect((await reads(inside, [0, before.lo, hi, now, before.now])).rows).toBeGreaterThan(50_000)
    expect((await reads(db.statements.page, [0, before.lo, now, before.now, 500, 1e9, hi])).rows).toBeLessThan(500 * 4)
  })

  it('a page reads as much in the middle of windows of any size', async () => {
    let total = 0
    for (const size of [2_000, 8_000, 30_000, 110_000]) {
      await fill(size - total)
      total = size
      const { lo, hi, now, held } = await window()
      const middle = String((BigInt(lo) + BigInt(hi)) / 2n)
      const page = await reads(db.statements.page, [0, middle, now, held, 500, 1e9, hi])
      expect(page.rows).toBeLessThanOrEqual(500 * 4)
    }
  })

  it('OPEN looks up hundreds of running transactions one by one, without statistics', async () => {
    await fill(60_000)
    const { rows } = await db.pool.query<{ xmax: string }>('select pg_snapshot_xmax(pg_current_snapshot())::text xmax')
    const xmax = BigInt(rows[0]?.xmax ?? 0)
    const running = Array.from({ length: 300 }, (_, n) => String(xmax + 1000n + BigInt(n)))
    const open = await reads(db.statements.open, [0, String(xmax + 10_000n), running, 501, 1e9])
    expect(open.rows).toBeLessThan(100)
    // Asked for all at once, it goes through the whole shard; from version 17 on PostgreSQL does better by itself.
    const version = await db.pool.query<{ n: number }>("select current_setting('server_version_num')::int n")
    const any = 'select id from outbox where shard = $1 and txid = any($2::xid8[]) limit 501'
    const atOnce = await reads(any, [0, running])
    if ((version.rows[0]?.n ?? 0) < 170_000) expect(atOnce.rows).toBeGreaterThan(50_000)
    else expect(atOnce.rows).toBeLessThan(100)
    // Idle, over what is read already: a handful of blocks.
    const idle = await reads(db.statements.open, [0, String(xmax + 10_000n), [], 501, 1e9])
    expect(idle.blocks).toBeLessThan(30)
    expect(idle.rows).toBeLessThan(10)
  })

  it('O-4: a pinned snapshot leaves the poll as it was, while a queue that deletes reads its dead rows each time', async () => {
    await db.pool.query('create table queue (id bigserial primary key, payload text)')
    await db.pool.query('update outbox_shard set snapshot = pg_current_snapshot()')
    const pinned = await db.connect()
    await pinned.query('begin isolation level repeatable read')
    await pinned.query('select 1 from outbox limit 1')

    const polls = async () => {
      const { rows } = await db.pool.query<{ xmax: string }>(
        'select pg_snapshot_xmax(pg_current_snapshot())::text xmax',
      )
      return {
        window: (await reads(db.statements.open, [0, rows[0]?.xmax, [], 501, 1e9])).blocks,
        deleting: (await reads('select * from queue order by id limit 500 for update skip locked', [])).blocks,
      }
    }
    const before = await polls()
    for (let round = 0; round < 20; round++) {
      await fill(500)
      await db.pool.query("insert into queue (payload) select 'x' from generate_series(1, 500)")
      await db.pool.query('delete from queue')
    }
    await db.pool.query('vacuum queue')
    const after = await polls()
    await pinned.query('commit')
    expect(after.window).toBeLessThan(before.window + 20)
    expect(after.deleting).toBeGreaterThan(before.deleting + 50)
  })
})
