import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { PrismaPg } from '@prisma/adapter-pg'
import { drizzle } from 'drizzle-orm/node-postgres'
import { migrate as drizzleMigrate } from 'drizzle-orm/node-postgres/migrator'
import knex from 'knex'
import pg from 'pg'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { migrate, migrationPlan, migrationUndo, type SchemaFeature } from '../../../src/stores/postgres/index.ts'
import { schemaFeatures } from '../../../src/stores/postgres/migration.ts'
import { migrations } from '../../../src/stores/postgres/migrations.ts'
import { describeOnBoth } from '../../outbox/support.ts'
import { uniqueName } from '../../support/services.ts'

const run = promisify(execFile)

describeOnBoth('migrationPlan() and migrationUndo() in a migration tool', (url) => {
  let pool: pg.Pool
  let schema: string
  let folder: string

  beforeEach(async () => {
    pool = new pg.Pool({ connectionString: url(), max: 3 })
    schema = uniqueName('tool')
    folder = await mkdtemp(join(tmpdir(), 'holdfast-tool-'))
  })
  afterEach(async () => {
    await pool.query(`drop schema if exists ${schema} cascade`)
    await pool.end()
    await rm(folder, { recursive: true })
  })

  const plan = (): string => migrationPlan({ schema, transaction: false })
  const undo = (): string => migrationUndo({ schema, transaction: false })

  /** Everything of the schema that has a name, but for what belongs to a table anyway. */
  async function things(): Promise<unknown[]> {
    const { rows } = await pool.query<{ thing: string }>(
      `select 'relation ' || relname || ' ' || relkind::text as thing from pg_class where relnamespace = to_regnamespace($1)
       union all select 'function ' || proname from pg_proc where pronamespace = to_regnamespace($1)
       union all select 'column ' || attrelid::regclass || ' ' || attname from pg_attribute join pg_class c on c.oid = attrelid
         where c.relnamespace = to_regnamespace($1) and attnum > 0 and not attisdropped order by 1`,
      [schema],
    )
    return rows.map(({ thing }) => thing)
  }

  it('Drizzle owns them: one migration, in the transaction of its migrator', async () => {
    const journal = {
      version: '7',
      dialect: 'postgresql',
      entries: [{ idx: 0, version: '7', when: 1, tag: '0000_holdfast', breakpoints: true }],
    }
    await mkdir(join(folder, 'meta'))
    await writeFile(join(folder, 'meta', '_journal.json'), JSON.stringify(journal))
    await writeFile(join(folder, '0000_holdfast.sql'), `${plan()}--> statement-breakpoint\nselect 1/0`)
    const options = { migrationsFolder: folder, migrationsSchema: schema, migrationsTable: 'drizzle' }
    await expect(drizzleMigrate(drizzle(pool), options)).rejects.toThrow()
    // It failed as a whole: the plan neither commits nor opens a transaction of its own.
    expect((await things()).filter((thing) => String(thing).includes('outbox'))).toEqual([])
    await writeFile(join(folder, '0000_holdfast.sql'), plan())
    await drizzleMigrate(drizzle(pool), options)
    expect(await migrate(pool, { schema })).toEqual([])
  })

  it('Knex owns them: up and down', async () => {
    const db = knex({ client: 'pg', connection: url(), pool: { min: 0, max: 2 } })
    const migrationSource = {
      getMigrations: () => Promise.resolve(['holdfast']),
      getMigrationName: (name: string) => name,
      getMigration: () =>
        Promise.resolve({ up: (trx: typeof db) => trx.raw(plan()), down: (trx: typeof db) => trx.raw(undo()) }),
    }
    const options = { migrationSource, tableName: `${schema}_knex` }
    await db.migrate.latest(options)
    expect(await migrate(pool, { schema })).toEqual([])
    await db.migrate.rollback(options)
    expect(await things()).toEqual([])
    await db.schema.dropTable(`${schema}_knex`).dropTable(`${schema}_knex_lock`)
    await db.destroy()
  })

  it('Prisma runs them as it runs the file of a migration', async () => {
    const adapter = await new PrismaPg({ connectionString: url() }).connect()
    await adapter.executeScript(plan())
    expect(await migrate(pool, { schema })).toEqual([])
    await adapter.executeScript(undo())
    expect(await things()).toEqual([])
    await adapter.dispose()
  })

  it('psql runs them in one transaction, and any tool that takes plain SQL does', async () => {
    const file = join(folder, 'plan.sql')
    const psql = (): Promise<unknown> =>
      run('psql', [url(), '--quiet', '--single-transaction', '-v', 'ON_ERROR_STOP=1', '-f', file])
    await writeFile(file, `${plan()}select 1/0;`)
    await expect(psql()).rejects.toThrow()
    expect(await things()).toEqual([])
    await writeFile(file, plan())
    await psql()
    expect(await migrate(pool, { schema })).toEqual([])
    await writeFile(file, undo())
    await psql()
    expect(await things()).toEqual([])
  })

  it.each(schemaFeatures.map((feature) => [feature]))(
    '%s alone can be made, and taken back',
    async (feature: SchemaFeature) => {
      const features = [feature]
      await pool.query(migrationPlan({ schema, features }))
      const names = migrations.filter((each) => each.feature === feature).map(({ name }) => name)
      const { rows } = await pool.query<{ name: string }>(`select name from ${schema}.migration order by version`)
      expect(rows.map(({ name }) => name)).toEqual(names)
      expect(await migrate(pool, { schema, features })).toEqual([])
      const others = await migrate(pool, { schema })
      expect(others).toEqual(migrations.filter((each) => each.feature !== feature).map(({ name }) => name))

      await pool.query(migrationUndo({ schema, features }))
      expect(await migrate(pool, { schema, features })).toEqual(names)
    },
  )

  it('takes back each step, to exactly what was there before it', async () => {
    await pool.query(migrationPlan({ schema, features: [] }))
    for (const { version, name, sql, undo } of migrations) {
      const before = await things()
      await pool.query(sql(`"${schema}"`, {}))
      const after = await things()
      await pool.query(undo(`"${schema}"`))
      expect(await things()).toEqual(before)
      await pool.query(sql(`"${schema}"`, {}))
      expect(await things()).toEqual(after)
      await pool.query(`insert into ${schema}.migration (version, name) values ($1, $2)`, [version, name])
    }
    expect(await migrate(pool, { schema })).toEqual([])
    await pool.query(migrationUndo({ schema }))
    expect(await things()).toEqual([])
  })

  it('has nothing that Knex takes for a placeholder or Prisma for the end of a statement, and no transaction unless it is asked for', () => {
    for (const text of [plan(), undo()]) {
      expect(text).not.toContain('?')
      // Nor semicolons elsewhere than behind statements.
      expect(
        text
          .split(';')
          .filter((part) => !/^(\n|$)/.test(part))
          .slice(1),
      ).toEqual([])
      expect(text).not.toMatch(/^(begin|commit);/m)
    }
    expect(migrationPlan()).toMatch(/^begin;[\s\S]*commit;\n$/)
    expect(migrationUndo()).toMatch(/^begin;[\s\S]*commit;\n$/)
  })

  it('refuses features and versions that do not exist', () => {
    expect(() => migrationPlan({ features: ['outbx' as SchemaFeature] })).toThrow(
      'migrationPlan: features must be a list of idempotency, outbox, ',
    )
    expect(() => migrationUndo({ from: -1 })).toThrow('migrationUndo: from must be an integer of at least 0, got -1')
  })
})
