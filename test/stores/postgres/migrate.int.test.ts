import pg from 'pg'
import { expect, it } from 'vitest'
import { migrate, migrationPlan, postgresIdempotencyStore } from '../../../src/stores/postgres/index.ts'
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
