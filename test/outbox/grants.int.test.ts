import pg from 'pg'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { PublishError } from '../../src/core/errors.ts'
import { outboxRelay } from '../../src/outbox/relay.ts'
import { migrate } from '../../src/stores/postgres/migrate.ts'
import { migrationPlan } from '../../src/stores/postgres/migration-plan.ts'
import { adoptOutbox, changeOutboxShards } from '../../src/stores/postgres/outbox/operations.ts'
import { outboxGrants } from '../../src/stores/postgres/outbox/grants.ts'
import { postgresOutboxStore } from '../../src/stores/postgres/outbox/store.ts'
import { postgresOutbox } from '../../src/stores/postgres/outbox/outbox.ts'
import { uniqueName } from '../support/services.ts'
import { describeOnBoth, fastSlots, addCommitted, outboxDatabase, target, until } from './support.ts'

describeOnBoth('what an outbox needs of its database', (url) => {
  let admin: pg.Pool
  let schema: string
  const pools: pg.Pool[] = []
  const roles: string[] = []

  beforeEach(() => {
    schema = uniqueName('grants')
    admin = new pg.Pool({ connectionString: url(), max: 2 })
  })
  afterEach(async () => {
    await Promise.all(pools.splice(0).map((pool) => pool.end()))
    await admin.query(`drop schema if exists ${schema} cascade`)
    for (const role of roles.splice(0)) await admin.query(`drop owned by ${role}; drop role ${role}`)
    await admin.end()
  })

  async function role(kind: string): Promise<{ name: string; pool: pg.Pool }> {
    const name = uniqueName(kind)
    await admin.query(`create role ${name} login nosuperuser`)
    roles.push(name)
    const at = new URL(url())
    at.username = name
    const pool = new pg.Pool({ connectionString: at.href, max: 5 })
    pool.on('error', () => {})
    pools.push(pool)
    return { name, pool }
  }

  async function owned() {
    const owner = await role('owner')
    await admin.query(`create schema ${schema} authorization ${owner.name}`)
    await migrate(owner.pool, { schema })
    return owner
  }

  it('an owner without further rights migrates; writer and relay work with the documented grants and no more', async () => {
    const owner = await owned()
    const writer = await role('writer')
    const relay = await role('relay')
    await owner.pool.query(outboxGrants({ schema, writer: writer.name, relay: relay.name, gate: writer.name }))
    await fastSlots({ pool: owner.pool, schema })

    const outbox = postgresOutbox({ schema })
    await addCommitted(outbox, writer.pool, { id: 'a', destination: 'orders', key: 'k', body: Buffer.from('x') })
    await addCommitted(
      outbox,
      writer.pool,
      { id: 'b', destination: 'orders', key: 'k', body: null },
      { strictOrder: true },
    )
    await addCommitted(outbox, writer.pool, { id: 'late', destination: 'orders', body: null, delayUntil: Date.now() })
    await addCommitted(outbox, writer.pool, { id: 'bad', destination: 'orders', body: null })
    const forbidden = ['id', 'txid', 'slot'].map((column) =>
      writer.pool
        .query(`insert into ${schema}.outbox (${column}, topic, type, message_id) values ('1', 't', 't', 'm')`)
        .catch((error: { code: string }) => error.code),
    )
    expect(await Promise.all(forbidden)).toEqual(['42501', '42501', '42501'])
    await expect(writer.pool.query(`select * from ${schema}.outbox`)).rejects.toThrow(/permission denied/)
    await writer.pool.query(`insert into ${schema}.outbox_mark values ('s', 'd', 'o', 'k', 1, 1, now())`)

    const to = target((messages) => {
      const index = messages.findIndex(({ id }) => id === 'bad')
      if (index >= 0) throw new PublishError('no', [{ index, permanent: true, error: new Error('no') }])
    })
    const store = postgresOutboxStore(relay.pool, { schema })
    const stop = new AbortController()
    const done = outboxRelay({ store, publisher: to, duePollMs: 20, minRetryMs: 1, rotateEveryMs: 100 }).run(
      stop.signal,
    )
    await until(() => new Set(to.ids()).size === 3, 'published')
    await until(async () => (await store.status()).dead === 1, 'dead')
    await until(async () => (await owner.pool.query(`select from ${schema}.outbox`)).rowCount === 0, 'cleaned')
    stop.abort()
    await done
  })

  it('the owner, without further rights, changes the number of shards and adopts', async () => {
    const { pool } = await owned()
    const outbox = postgresOutbox({ schema })
    await addCommitted(outbox, pool, { id: 'late', destination: 'orders', body: null, delayUntil: Date.now() })
    await changeOutboxShards(pool, { schema, shards: 2 })
    await addCommitted(outbox, pool, { id: 'a', destination: 'orders', body: null })
    await pool.query(`update ${schema}.outbox_shard set cluster = 'another'`)
    expect(await adoptOutbox(pool, { schema })).toEqual({ adopted: true, messages: 1 })
    const to = target()
    const stop = new AbortController()
    const store = postgresOutboxStore(pool, { schema })
    const done = outboxRelay({ store, publisher: to, duePollMs: 20 }).run(stop.signal)
    await until(() => to.ids().length === 2, 'published')
    stop.abort()
    await done
  })

  it('grants to a role of any name, and to nothing else', async () => {
    const owner = await owned()
    const name = `${uniqueName('w')}"; drop schema ${schema} cascade; --`
    const quoted = `"${name.replaceAll('"', '""')}"`
    await admin.query(`create role ${quoted}`)
    roles.push(quoted)
    await owner.pool.query(outboxGrants({ schema, writer: name }))
    const { rows } = await admin.query(`select has_schema_privilege($1, $2, 'usage') as may`, [name, schema])
    expect(rows).toEqual([{ may: true }])
  })

  it('a relay names the rights that are missing', async () => {
    const owner = await owned()
    const relay = await role('relay')
    await owner.pool.query(outboxGrants({ schema, relay: relay.name }))
    await owner.pool.query(`revoke truncate on ${schema}.outbox_1 from ${relay.name}`)
    const store = postgresOutboxStore(relay.pool, { schema })
    await expect(outboxRelay({ store, publisher: target() }).run(new AbortController().signal)).rejects.toMatchObject({
      code: 'bad-schema',
      message: `outbox: the relay's role lacks rights: outbox_1 (truncate). Run what outboxGrants({ schema: '${schema}', relay }) prints`,
    })
    const stranger = await role('stranger')
    await expect(
      addCommitted(postgresOutbox({ schema }), stranger.pool, { destination: 'orders', body: null }),
    ).rejects.toMatchObject({ code: 'bad-schema', message: /this role lacks a right \(permission denied for schema/ })
  })

  it('a missing, an older and a newer schema are refused, each with what to do', async () => {
    const store = postgresOutboxStore(admin, { schema })
    const run = () => outboxRelay({ store, publisher: target() }).run(new AbortController().signal)
    await expect(run()).rejects.toThrow(
      `outbox: the schema ${schema} has no outbox: run migrate(pool, { schema: '${schema}' })`,
    )
    await migrate(admin, { schema })
    const version = (n: number) =>
      admin.query(
        `create or replace function ${schema}.outbox_version() returns int language sql immutable parallel safe as 'select ${n}'`,
      )
    await version(0)
    await expect(run()).rejects.toThrow(/has version 0, this relay needs 1: migrate it/)
    await version(2)
    await expect(run()).rejects.toThrow(/has version 2, newer than 1: upgrade this relay/)
  })

  it('a number of shards that does not fit the keys is refused with the procedure', async () => {
    await migrate(admin, { schema })
    await admin.query(`delete from ${schema}.outbox_shard where shard = 3`)
    const store = postgresOutboxStore(admin, { schema })
    await expect(store.check()).rejects.toMatchObject({
      code: 'bad-schema',
      message:
        /has 3 shard rows, but its keys are spread over 4: .*changeOutboxShards\(pool, { schema, shards }\) only/,
    })
    expect((await store.attend('a', 1000)).refused).toMatch(/3 shard rows/)
  })

  it('names no schema that is not a plain identifier', () => {
    for (const bad of ['a"b', 'A', '1a', 'a-b', '', 'a'.repeat(64)]) {
      expect(() => postgresOutbox({ schema: bad })).toThrow(/postgresOutbox: schema must be/)
      expect(() => postgresOutboxStore(admin, { schema: bad })).toThrow(/postgresOutboxStore: schema must be/)
      expect(() => outboxGrants({ schema: bad, writer: 'w' })).toThrow(/outboxGrants: schema must be/)
    }
    expect(() => outboxGrants({ schema, relay: '' })).toThrow(
      "outboxGrants: relay must be a text that is not empty, got ''",
    )
  })

  it('a read-only connection is named as such, and nothing is half-written', async () => {
    const db = await outboxDatabase(url())
    const client = await db.connect()
    await client.query('begin read only')
    const outbox = postgresOutbox({ schema: db.schema })
    await expect(outbox.add(client, { destination: 'orders', body: null })).rejects.toMatchObject({
      code: 'unavailable',
      message: /this connection is read-only \(a replica, or a read-only transaction\): use the primary/,
    })
    await client.query('rollback')
    await db.dispose()
  })

  it('migrate() and migrationPlan() make as many shards, and slots as long, as they are told', async () => {
    const layout = async (): Promise<unknown> => {
      const { rows } = await admin.query<{ slots: string }>(
        `select (select count(*)::int from ${schema}.outbox_shard) shards, ${schema}.outbox_shards() wanted,
           pg_get_functiondef('${schema}.outbox_slot'::regproc) slots`,
      )
      const [{ slots, ...shards } = { slots: '' }] = rows
      return { ...shards, slotSeconds: /bigint \/ (\d+)/.exec(slots)?.[1] }
    }
    await migrate(admin, { schema, outbox: { shards: 2, slotSeconds: 3600 } })
    expect(await layout()).toEqual({ shards: 2, wanted: 2, slotSeconds: '3600' })
    await migrate(admin, { schema, outbox: { shards: 7 } })
    expect(await layout()).toEqual({ shards: 2, wanted: 2, slotSeconds: '3600' })
    await admin.query(`drop schema ${schema} cascade`)
    await admin.query(migrationPlan({ schema, outbox: { shards: 3 } }))
    expect(await layout()).toEqual({ shards: 3, wanted: 3, slotSeconds: '60' })
  })

  it('refuses numbers of shards and seconds that make no sense, before anything is changed', async () => {
    for (const shards of [0, 1.5, 40_000, '8' as unknown as number]) {
      const error = /: shards must be an integer from 1 to 32767, got /
      await expect(migrate(admin, { schema, outbox: { shards } })).rejects.toThrow(error)
      await expect(changeOutboxShards(admin, { schema, shards })).rejects.toThrow(error)
      expect(() => migrationPlan({ schema, outbox: { shards } })).toThrow(error)
    }
    await expect(migrate(admin, { schema, outbox: { slotSeconds: 0 } })).rejects.toThrow(
      'migrate: slotSeconds must be an integer of at least 1, got 0',
    )
  })

  it('migrationPlan() prints the same tables', async () => {
    await admin.query(migrationPlan({ schema }))
    await postgresOutboxStore(admin, { schema }).check()
  })
})
