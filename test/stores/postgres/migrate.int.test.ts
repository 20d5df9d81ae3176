import pg from 'pg'
import { expect, it } from 'vitest'
import { migrate, migrationPlan, outboxGrants, postgresIdempotencyStore } from '../../../src/stores/postgres/index.ts'
import { migrations } from '../../../src/stores/postgres/migrations.ts'
import { describeWith, postgresUrl, serviceAddress, uniqueName } from '../../support/services.ts'
import { createTestPool } from '../../support/test-pool.ts'

const names = migrations.map(({ name }) => name)
const claim = { scope: 's', key: 'k', owner: 'o', leaseMs: 1000, fingerprint: null }

for (const server of ['postgres', 'postgres18'])
  describeWith([server], `migrate() on ${server}`, () => {
    const open = () => createTestPool({ connectionString: serviceAddress(server).url, max: 25 })

    it('makes the schema, says which steps it took, and takes none the second time', async () => {
      const { pool, dispose } = await open()
      const schema = uniqueName('fresh')
      expect(await migrate(pool, { schema })).toEqual(names)
      const store = postgresIdempotencyStore(pool, { schema })
      expect((await store.claim(claim)).state).toBe('claimed')
      expect(await migrate(pool, { schema })).toEqual([])
      expect((await store.claim({ ...claim, owner: 'other' })).state).toBe('in-progress')
      await pool.query(`drop schema ${schema} cascade`)
      await dispose()
    })

    it('I-25 lets 20 migrators start at once', async () => {
      const { pool, dispose } = await open()
      const schema = uniqueName('fresh')
      const applied = await Promise.all(Array.from({ length: 20 }, () => migrate(pool, { schema })))
      expect(applied.filter((steps) => steps.length > 0)).toEqual([names])
      const { rows } = await pool.query(`select version from ${schema}.migration order by version`)
      expect(rows).toEqual(migrations.map(({ version }) => ({ version })))
      await pool.query(`drop schema ${schema} cascade`)
      await dispose()
    })

    it.each([
      ['lock_timeout', '20ms'],
      ['statement_timeout', '100ms'],
      ['idle_in_transaction_session_timeout', '100ms'],
      ...(server === 'postgres18' ? [['transaction_timeout', '100ms'] as const] : []),
    ] as const)('lets migrators wait for each other where %s is %s', async (setting, value) => {
      const { pool, schema, dispose } = await createTestPool({
        connectionString: serviceAddress(server).url,
        max: 25,
        options: `-c ${setting}=${value}`,
      })
      const fresh = uniqueName('fresh')
      const patient = await createTestPool({ connectionString: serviceAddress(server).url })
      const holder = await patient.pool.connect()
      await holder.query('begin')
      await holder.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [`holdfast migrate ${fresh}`])
      const waiting = Promise.all(Array.from({ length: 5 }, () => migrate(pool, { schema: fresh })))
      await new Promise((resolve) => setTimeout(resolve, 300))
      await holder.query('commit')
      holder.release()
      expect((await waiting).filter((steps) => steps.length > 0)).toEqual([names])
      await patient.pool.query(`drop schema ${fresh} cascade`)
      await patient.dispose()
      await dispose()
      expect(schema).not.toBe(fresh)
    })

    it('waits no longer than waitMs for another session', async () => {
      const { pool, schema, dispose } = await open()
      const holder = await pool.connect()
      await holder.query('begin')
      await holder.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [`holdfast migrate ${schema}`])
      await expect(migrate(pool, { schema, waitMs: 50 })).rejects.toMatchObject({
        code: 'unavailable',
        message: `migrate: another session holds a lock on the schema ${schema} for longer than 50 ms; nothing was changed`,
      })
      await holder.query('rollback')
      holder.release()
      await dispose()
    })

    it('says that nothing is to be done to a role that could not do it, without waiting for anybody', async () => {
      const { pool, schema, dispose } = await open()
      await migrate(pool, { schema })
      const role = uniqueName('reader')
      await pool.query(`create role ${role} login; ${outboxGrants({ schema, writer: role })}`)
      const url = new URL(serviceAddress(server).url)
      url.username = role
      const reader = new pg.Pool({ connectionString: url.href, max: 2 })
      const holder = await pool.connect()
      await holder.query('begin')
      await holder.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [`holdfast migrate ${schema}`])
      expect(await migrate(reader, { schema })).toEqual([])
      await holder.query('rollback')
      holder.release()

      await pool.query(`delete from ${schema}.migration where version = (select max(version) from ${schema}.migration)`)
      await expect(migrate(reader, { schema })).rejects.toMatchObject({
        code: 'bad-schema',
        message: expect.stringContaining(`may not take: ${names.at(-1)} (`) as string,
      })
      await expect(migrate(reader, { schema: uniqueName('other') })).rejects.toMatchObject({ code: 'bad-schema' })
      await pool.query(`drop owned by ${role}`)
      // Without any right it cannot know whether a step is missing, and does not say so.
      await expect(migrate(reader, { schema })).rejects.toMatchObject({
        code: 'bad-schema',
        message: expect.stringContaining('this role may not read which steps') as string,
      })
      await reader.end()
      await pool.query(`drop role ${role}`)
      await dispose()
    })

    it('keeps the delayed messages of an outbox that was made before their key changed', async () => {
      const { pool, schema, dispose } = await open()
      const before = migrationPlan({ schema })
      await pool.query(`${before.slice(0, before.indexOf('-- 5: '))}commit;`)
      await pool.query(
        `insert into ${schema}.outbox_delayed (topic, type, message_id, due_at) select 't', 't', n::text, now() from generate_series(1, 3) n`,
      )
      expect(await migrate(pool, { schema })).toContain('outbox-delayed-key')
      const { rows } = await pool.query(`select message_id from ${schema}.outbox_delayed order by due_at, seq`)
      expect(rows).toEqual([{ message_id: '1' }, { message_id: '2' }, { message_id: '3' }])
      await dispose()
    })
  })

describeWith(['postgres'], 'migrate()', () => {
  it('works for a role that owns nothing but the schema', async () => {
    const { pool, schema, dispose } = await createTestPool()
    const role = uniqueName('role')
    await pool.query(`create role ${role} login; alter schema ${schema} owner to ${role}`)
    const url = new URL(postgresUrl())
    url.username = role
    const owner = new pg.Pool({ connectionString: url.href, max: 2 })
    const { rows } = await owner.query(`select has_database_privilege(current_database(), 'create') as may`)
    expect(rows).toEqual([{ may: false }])
    expect(await migrate(owner, { schema })).toEqual(names)
    expect((await postgresIdempotencyStore(owner, { schema }).claim(claim)).state).toBe('claimed')
    await owner.end()
    await pool.query(`drop schema ${schema} cascade; drop role ${role}`)
    await dispose()
  })

  it('leaves a newer schema alone, and adds what is missing to an older one', async () => {
    const { pool, schema, dispose } = await createTestPool()
    await migrate(pool, { schema })
    await pool.query(`insert into ${schema}.migration (version, name) values (9999, 'of a later version')`)
    expect(await migrate(pool, { schema })).toEqual([])
    await dispose()
  })

  it('changes nothing where a step fails', async () => {
    const { pool, schema, dispose } = await createTestPool()
    await pool.query(`create table ${schema}.idempotency (in_the_way int)`)
    await expect(migrate(pool, { schema })).rejects.toThrow('already exists')
    const { rows } = await pool.query(
      `select table_name from information_schema.tables where table_schema = '${schema}'`,
    )
    expect(rows).toEqual([{ table_name: 'idempotency' }])
    await dispose()
  })

  it('works where the database is repeatable read by default', async () => {
    const { pool, schema, dispose } = await createTestPool({
      options: '-c default_transaction_isolation=repeatable\\ read',
      max: 20,
    })
    const applied = await Promise.all(Array.from({ length: 10 }, () => migrate(pool, { schema })))
    expect(applied.filter((steps) => steps.length > 0)).toEqual([names])
    await dispose()
  })

  it('gives the same as SQL to run by hand', async () => {
    const { pool, dispose } = await createTestPool()
    const schema = uniqueName('fresh')
    await pool.query(migrationPlan({ schema }))
    expect(await migrate(pool, { schema })).toEqual([])
    expect((await postgresIdempotencyStore(pool, { schema }).claim(claim)).state).toBe('claimed')
    const last = migrations.at(-1)?.version ?? 0
    expect(migrationPlan({ schema, from: last })).not.toContain('insert into')
    await pool.query(`drop schema ${schema} cascade`)
    await dispose()
  })

  it('says that PostgreSQL is not there, where it is not', async () => {
    const nowhere = new pg.Pool({ connectionString: 'postgres://localhost:1/none' })
    await expect(migrate(nowhere)).rejects.toMatchObject({
      code: 'unavailable',
      message: 'migrate: PostgreSQL cannot be reached',
    })
    await nowhere.end()
  })

  it('refuses a schema name that would need more than quotes', async () => {
    const { pool, dispose } = await createTestPool()
    for (const schema of ['', 'Upper', '1st', 'a-b', 'a"b', 'a;drop', 'x'.repeat(64)]) {
      await expect(migrate(pool, { schema })).rejects.toThrow('migrate: schema must be')
      expect(() => migrationPlan({ schema })).toThrow('migrationPlan: schema must be')
      expect(() => postgresIdempotencyStore(pool, { schema })).toThrow('postgresIdempotencyStore: schema must be')
    }
    await dispose()
  })
})
