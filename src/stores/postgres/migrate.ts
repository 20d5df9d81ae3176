import { HoldfastError } from '../../core/errors.ts'
import { quotedSchema } from './identifiers.ts'
import type { Layout } from './migration.ts'
import { migrations } from './migrations.ts'
import { requireLayout, type OutboxLayout } from './outbox/schema.ts'
import type { PoolClientSlice, PoolSlice, Queryable } from './queryable.ts'
import { field } from './rows.ts'

export interface MigrateOptions {
  /** Where the tables are. @defaultValue `'holdfast'` */
  readonly schema?: string
  /** How the outbox is laid out where it is made; it is left as it is where it is there. */
  readonly outbox?: OutboxLayout
}

/**
 * Brings the schema up to this version of the library, and says which steps it applied. Safe to call from every
 * process at start: they wait for each other. It never drops or rewrites anything. A schema that is newer stays as it is.
 * @throws HoldfastError `unavailable` where there is no connection, or what the database answers; then nothing was changed.
 */
export async function migrate<Client extends PoolClientSlice>(
  pool: PoolSlice<Client>,
  { schema = 'holdfast', outbox = {} }: MigrateOptions = {},
): Promise<readonly string[]> {
  const quoted = quotedSchema('migrate', schema)
  requireLayout('migrate', outbox)
  const client = await pool.connect().catch((cause: unknown) => {
    throw new HoldfastError('unavailable', 'migrate: PostgreSQL cannot be reached', { cause })
  })
  const ignore = (): void => undefined
  client.on('error', ignore)
  let broken = true
  try {
    // Read committed, whatever the default: what is looked up after the wait must be what is there after the wait.
    await client.query('begin isolation level read committed', [])
    const applied = await migrateIn(client, schema, quoted, { outbox })
    const { command } = await client.query('commit', [])
    if (command !== undefined && command !== 'COMMIT')
      throw new HoldfastError('commit-refused', `migrate: the database answered ${command} to COMMIT`)
    broken = false
    return applied
  } finally {
    // A client in an unknown state ends with its connection, and the transaction with it.
    client.off('error', ignore)
    client.release(broken)
  }
}

/** The same as SQL to review, to run by hand, or for a migration tool: every step above version `from`. */
export function migrationPlan({
  schema = 'holdfast',
  from = 0,
  outbox = {},
}: MigrateOptions & { readonly from?: number } = {}): string {
  const quoted = quotedSchema('migrationPlan', schema)
  requireLayout('migrationPlan', outbox)
  const wanted = migrations.filter(({ version }) => version > from)
  return [
    'begin;',
    `create schema if not exists ${quoted};`,
    `${createVersions(quoted)};`,
    ...wanted.map(
      ({ version, name, sql }) =>
        `-- ${version}: ${name}${sql(quoted, { outbox })}\n\ninsert into ${quoted}.migration (version, name) values (${version}, '${name}');`,
    ),
    'commit;\n',
  ].join('\n\n')
}

async function migrateIn(
  client: Queryable,
  schema: string,
  quoted: string,
  layout: Layout,
): Promise<readonly string[]> {
  await client.query(LOCK, [`holdfast migrate ${schema}`])
  // `create schema if not exists` asks for the right to create it even where it exists: an owner without that right
  // can still migrate a schema that was made for it.
  const known = await client.query(FIND_SCHEMA, [schema])
  if (known.rows.length === 0) await client.query(`create schema ${quoted}`, [])
  const versions = await client.query(FIND_VERSIONS, [schema])
  if (versions.rows.length === 0) await client.query(createVersions(quoted), [])
  const { rows } = await client.query(`select version from ${quoted}.migration`, [])
  const applied = new Set(rows.map((row) => Number(field(row, 'version'))))
  const missing = migrations.filter(({ version }) => !applied.has(version))
  for (const { version, name, sql } of missing) {
    await client.query(sql(quoted, layout), [])
    await client.query(`insert into ${quoted}.migration (version, name) values ($1, $2)`, [version, name])
  }
  return missing.map(({ name }) => name)
}

// Concurrent `create table if not exists` fails on the catalogue's unique indexes: one at a time, until the end of the
// transaction.
const LOCK = 'select pg_advisory_xact_lock(hashtextextended($1, 0))'
const FIND_SCHEMA = 'select 1 from pg_catalog.pg_namespace where nspname = $1'
const FIND_VERSIONS = `select 1 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = 'migration'`

function createVersions(quoted: string): string {
  return `create table if not exists ${quoted}.migration (
  version integer primary key,
  name text not null,
  applied_at timestamptz not null default clock_timestamp()
)`
}
