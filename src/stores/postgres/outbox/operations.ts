import { systemClock, type Clock } from '../../../core/clock.ts'
import { HoldfastError } from '../../../core/errors.ts'
import {
  anything,
  checkArgument,
  checkOptions,
  clockKind,
  having,
  requireMs,
  required,
  text,
} from '../../../core/options.ts'
import { quotedSchema } from '../identifiers.ts'
import { sqlState } from '../failures.ts'
import { explained } from './errors.ts'
import { lockNotAvailable } from './lock.ts'
import { requireShards, shardChange } from './schema.ts'
import { outboxStatements } from './statements.ts'
import type { PoolClientSlice, PoolSlice, Queryable } from '../queryable.ts'
import { flagField, numberField, textField } from '../rows.ts'

export interface AdoptOptions {
  /** @defaultValue `'holdfast'` */
  readonly schema?: string
}

/** What adopting did: nothing where the outbox belongs here already. */
export interface Adopted {
  readonly adopted: boolean
  /** How many messages were left in the outbox: all of them are published again. */
  readonly messages: number
}

/**
 * Binds an outbox to the server it is in now, after a dump was restored, a database copied or a server upgraded. Relays
 * refuse to work until an operator has decided this. Everything left in the tables is published again. Run it as the
 * owner of the tables, when nothing writes to the place it came from any more.
 */
export async function adoptOutbox<Client extends PoolClientSlice>(
  pool: PoolSlice<Client>,
  options: AdoptOptions = {},
): Promise<Adopted> {
  const { schema = 'holdfast' } = checkOptions('adoptOutbox', options, { schema: text })
  checkArgument('adoptOutbox', 'pool', pool, having('connect'))
  const quoted = quotedSchema('adoptOutbox', schema)
  return withClient(pool, schema, async (client) => {
    const strangers = await client.query(
      `select count(*)::int as n from ${quoted}.outbox_shard where cluster <> ${quoted}.outbox_cluster()`,
      [],
    )
    if (numberField(strangers.rows[0], 'n') === 0) return { adopted: false, messages: 0 }
    // In a statement of its own, before the lock: a writer that is older than the lock's transaction must not look read.
    const before = await client.query('select pg_current_snapshot()::text as sn', [])
    const snapshot = textField(before.rows[0], 'sn')
    await client.query('begin isolation level read committed', [])
    await client.query(`lock table ${quoted}.outbox, ${quoted}.outbox_shard in access exclusive mode`, [])
    await client.query(
      `select setval('${quoted}.outbox_id', greatest((select last_value from ${quoted}.outbox_id),
  (select max(id) from ${quoted}.outbox), (select max(id) from ${quoted}.outbox_dead),
  (select max(seq) from ${quoted}.outbox_delayed)))`,
      [],
    )
    // Written anew rather than updated: under a publication of all tables, rows without a key cannot be updated.
    const columns = 'slot, id, topic, key, type, message_id, headers, payload, created_at'
    await client.query(
      `create temporary table holdfast_adopted on commit drop as select ${columns} from ${quoted}.outbox`,
      [],
    )
    await client.query(`truncate ${quoted}.outbox`, [])
    const { rowCount } = await client.query(
      `insert into ${quoted}.outbox (${columns}) select ${columns} from holdfast_adopted order by id`,
      [],
    )
    // A new source: what consumers remember of the old one may be ahead of the ids that are drawn from here on.
    await client.query(
      `update ${quoted}.outbox_shard set snapshot = $1::pg_snapshot, win_to = null, win_pos = null, win_end = null,
  epoch = epoch + 1, owner = null, lease_until = '-infinity', cluster = ${quoted}.outbox_cluster(), source = gen_random_uuid()`,
      [snapshot],
    )
    await client.query('commit', [])
    return { adopted: true, messages: rowCount ?? 0 }
  })
}

export interface ChangeShardsOptions {
  /** @defaultValue `'holdfast'` */
  readonly schema?: string
  readonly shards: number
  /** How long it may take until writers have ended and the relays have published what is left. @defaultValue 10_000 */
  readonly drainMs?: number
  readonly clock?: Clock
}

/**
 * Spreads the keys over another number of shards without reordering any: writers wait, the running relays publish what
 * there is, then the number changes. Where they do not finish in time, nothing is changed.
 * @throws HoldfastError `unavailable` when messages are left, or writers are busy, after `drainMs`.
 */
export async function changeOutboxShards<Client extends PoolClientSlice>(
  pool: PoolSlice<Client>,
  options: ChangeShardsOptions,
): Promise<void> {
  const {
    schema = 'holdfast',
    shards,
    drainMs = 10_000,
    clock = systemClock,
  } = checkOptions('changeOutboxShards', options, {
    schema: text,
    shards: required(anything),
    drainMs: anything,
    clock: clockKind,
  })
  requireShards('changeOutboxShards', shards)
  requireMs('changeOutboxShards', { drainMs }, 0)
  checkArgument('changeOutboxShards', 'pool', pool, having('connect'))
  const quoted = quotedSchema('changeOutboxShards', schema)
  const { unread } = outboxStatements(quoted)
  await withClient(pool, schema, async (client) => {
    const layout = await client.query(`select to_regclass('${quoted}.outbox_delayed_due') is not null as current`, [])
    if (!flagField(layout.rows[0], 'current'))
      throw new HoldfastError(
        'bad-schema',
        `changeOutboxShards: the outbox in schema ${schema} is older than this version: run migrate(pool, { schema }) first`,
      )
    const endMs = clock.now() + drainMs
    if (!(await lock(client, quoted, 'writers', clock, endMs)))
      throw new HoldfastError(
        'unavailable',
        `changeOutboxShards: transactions that write to the outbox did not end within ${drainMs} ms; nothing was changed`,
      )
    while (await isUnread(client, unread)) {
      if (clock.now() >= endMs)
        throw new HoldfastError(
          'unavailable',
          `changeOutboxShards: the relays have not published everything within ${drainMs} ms; nothing was changed`,
        )
      await pause(clock)
    }
    if (!(await lock(client, quoted, 'readers', clock, endMs)))
      throw new HoldfastError(
        'unavailable',
        `changeOutboxShards: somebody reads the outbox for longer than ${drainMs} ms, a backup maybe; nothing was changed`,
      )
    await client.query(shardChange(quoted, shards), [])
    await client.query(`delete from ${quoted}.outbox_shard where shard >= $1`, [shards])
    await client.query(
      `insert into ${quoted}.outbox_shard as s (shard, cluster, snapshot)
select n, ${quoted}.outbox_cluster(), pg_current_snapshot() from generate_series(0, $1::int - 1) n
on conflict (shard) do update set snapshot = excluded.snapshot, win_to = null, win_pos = null, win_end = null,
  epoch = s.epoch + 1, owner = null, lease_until = '-infinity'`,
      [shards],
    )
    await client.query('commit', [])
  })
}

const locks = {
  /** Begins a transaction in which nobody else can write, and no other change of the kind can run. */
  writers: { begin: 'begin isolation level read committed', undo: 'rollback', mode: 'share row exclusive' },
  /** Within it: nobody reads either. */
  readers: { begin: 'savepoint readers', undo: 'rollback to savepoint readers', mode: 'access exclusive' },
}

/**
 * Keeps others out of what is added and delayed. A writer may hold one of the tables and want the other: so no wait is
 * longer than it takes PostgreSQL to look for a deadlock.
 */
async function lock(
  client: Queryable,
  quoted: string,
  out: keyof typeof locks,
  clock: Clock,
  endMs: number,
): Promise<boolean> {
  const { begin, undo, mode } = locks[out]
  const tables = [`${quoted}.outbox`, `${quoted}.outbox_delayed`]
  for (;;) {
    await client.query(begin, [])
    await client.query(shortWait, [])
    try {
      await client.query(`lock table ${tables.join(', ')} in ${mode} mode`, [])
      await client.query('set local lock_timeout = 0', [])
      return true
    } catch (error) {
      if (sqlState(error) !== lockNotAvailable) throw error
    }
    await client.query(undo, [])
    if (clock.now() >= endMs) return false
    // Writers that take them in one order never stand in the way of the same order.
    tables.reverse()
    await pause(clock)
  }
}

const shortWait = `select set_config('lock_timeout', greatest(1, least(500, setting::int / 2))::text, true)
from pg_catalog.pg_settings where name = 'deadlock_timeout'`

function pause(clock: Clock): Promise<void> {
  return new Promise((resolve) => clock.after(20, resolve))
}

async function isUnread(client: Queryable, statement: string): Promise<boolean> {
  const { rows } = await client.query(statement, [])
  return rows.length === 0 || flagField(rows[0], 'unread')
}

/** A client in an unknown state ends with its connection, and the transaction with it. */
async function withClient<Client extends PoolClientSlice, T>(
  pool: PoolSlice<Client>,
  schema: string,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const client = await pool.connect()
  const ignore = (): void => undefined
  client.on('error', ignore)
  let broken = true
  try {
    const result = await work(client)
    broken = false
    return result
  } catch (error) {
    throw explained(error, schema)
  } finally {
    client.off('error', ignore)
    client.release(broken)
  }
}
