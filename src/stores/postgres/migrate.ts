import { HoldfastError } from '../../core/errors.ts'
import { anything, checkArgument, checkOptions, having, objects, requireMs, text } from '../../core/options.ts'
import { sqlState } from './failures.ts'
import { quotedSchema } from './identifiers.ts'
import { createVersions, requireFeatures, schemaFeatures, type Migration, type SchemaFeature } from './migration.ts'
import { migrations } from './migrations.ts'
import { requireLayout, type OutboxLayout } from './outbox/schema.ts'
import type { PoolClientSlice, PoolSlice, Queryable } from './queryable.ts'
import { field } from './rows.ts'

export interface MigrateOptions {
  /** Where the tables are. @defaultValue `'holdfast'` */
  readonly schema?: string
  /** The features whose tables to make. @defaultValue all */
  readonly features?: readonly SchemaFeature[]
  /** The layout of new outbox tables. Existing tables stay as they are. */
  readonly outbox?: OutboxLayout
  /** Longest wait for other migrators, and for each lock, in ms. Time-outs set on the role are ignored. @defaultValue 60_000 */
  readonly waitMs?: number
}

/**
 * Brings the schema up to this version of the library, and returns the steps that it applied. Every process may call it at
 * start: they wait for each other. It never drops or rewrites anything. A newer schema stays as it is.
 * If no step is missing it only reads, and any role may call it.
 * @throws HoldfastError `bad-schema` when this role may not run the missing steps; `unavailable` when there is no
 * connection, or when another session holds a lock for longer than `waitMs`. Then nothing was changed.
 */
export async function migrate<Client extends PoolClientSlice>(
  pool: PoolSlice<Client>,
  options: MigrateOptions = {},
): Promise<readonly string[]> {
  const {
    schema = 'holdfast',
    features = schemaFeatures,
    outbox = {},
    waitMs = 60_000,
  } = checkOptions('migrate', options, { schema: text, features: anything, outbox: objects, waitMs: anything })
  checkArgument('migrate', 'pool', pool, having('connect'))
  const quoted = quotedSchema('migrate', schema)
  requireFeatures('migrate', features)
  requireLayout('migrate', outbox)
  requireMs('migrate', { waitMs })
  const wanted = migrations.filter(({ feature }) => features.includes(feature))
  const client = await pool.connect().catch((cause: unknown) => {
    throw new HoldfastError('unavailable', 'migrate: PostgreSQL cannot be reached', { cause })
  })
  const ignore = (): void => undefined
  client.on('error', ignore)
  let broken = true
  let applied: Applied = 'unknown'
  try {
    // Without a lock first: most of the time there is nothing to do, and readers have no right to do it.
    applied = await appliedIn(client, schema, quoted)
    if (applied !== 'unknown' && missing(wanted, applied).length === 0) {
      broken = false
      return []
    }
    // Read committed, also where the default differs: the look after the wait must see what is there after the wait.
    await client.query('begin isolation level read committed', [])
    await client.query(SET_TIMEOUTS, [String(Math.ceil(waitMs))])
    await client.query(LOCK, [`holdfast migrate ${schema}`])
    const steps = await applyIn(client, { schema, quoted, wanted, outbox })
    const { command } = await client.query('commit', [])
    if (command !== undefined && command !== 'COMMIT')
      throw new HoldfastError('commit-refused', `migrate: the database answered ${command} to COMMIT`)
    broken = false
    return steps
  } catch (error) {
    throw explained(error, { schema, wanted, applied, waitMs })
  } finally {
    // A client in an unknown state ends with its connection, and the transaction with it.
    client.off('error', ignore)
    client.release(broken)
  }
}

/** The versions that were applied; `'unknown'` where this role may not read them. */
type Applied = ReadonlySet<number> | 'unknown'

function missing(wanted: readonly Migration[], applied: Applied): readonly Migration[] {
  return applied === 'unknown' ? wanted : wanted.filter(({ version }) => !applied.has(version))
}

async function appliedIn(client: Queryable, schema: string, quoted: string): Promise<Applied> {
  const versions = await client.query(FIND_VERSIONS, [schema])
  if (versions.rows.length === 0) return new Set()
  try {
    const { rows } = await client.query(`select version::text from ${quoted}.migration`, [])
    return new Set(rows.map((row) => Number(field(row, 'version'))))
  } catch (error) {
    if (sqlState(error) === NO_RIGHT) return 'unknown'
    throw error
  }
}

interface Wanted {
  readonly schema: string
  readonly quoted: string
  readonly wanted: readonly Migration[]
  readonly outbox: OutboxLayout
}

async function applyIn(client: Queryable, { schema, quoted, wanted, outbox }: Wanted): Promise<readonly string[]> {
  // `create schema if not exists` asks for the right to create it even where it exists: an owner without that right
  // can still migrate a schema that was made for it.
  const known = await client.query(FIND_SCHEMA, [schema])
  if (known.rows.length === 0) await client.query(`create schema ${quoted}`, [])
  await client.query(createVersions(quoted), [])
  const steps = missing(wanted, await appliedIn(client, schema, quoted))
  for (const { version, name, sql } of steps) {
    await client.query(sql(quoted, { outbox }), [])
    await client.query(`insert into ${quoted}.migration (version, name) values ($1, $2)`, [version, name])
  }
  return steps.map(({ name }) => name)
}

interface Failed {
  readonly schema: string
  readonly wanted: readonly Migration[]
  readonly applied: Applied
  readonly waitMs: number
}

function explained(error: unknown, { schema, wanted, applied, waitMs }: Failed): unknown {
  const state = sqlState(error)
  if (state === NO_RIGHT) {
    const names = missing(wanted, applied).map(({ name, version }) => `${name} (${version})`)
    const what =
      applied === 'unknown'
        ? `this role may not read which steps the schema ${schema} has. If the schema is up to date, grant the role its ` +
          `rights: outboxGrants() prints them. If it is not, run`
        : `the schema ${schema} lacks steps that this role may not take: ${names.join(', ')}. Run`
    return new HoldfastError(
      'bad-schema',
      `migrate: ${what} migrate(), or what migrationPlan({ schema: '${schema}' }) prints, as the owner of the schema`,
      { cause: error },
    )
  }
  if (state === '55P03')
    return new HoldfastError(
      'unavailable',
      `migrate: another session holds a lock on the schema ${schema} for longer than ${waitMs} ms; nothing was changed`,
      { cause: error },
    )
  return error
}

// Time-outs of a role are for its short statements. A step may take longer, and so may another migrator.
const SET_TIMEOUTS = `select set_config(name, case name when 'lock_timeout' then $1 else '0' end, true) from pg_catalog.pg_settings
where name in ('lock_timeout', 'statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')`
// Concurrent `create table if not exists` fails on the catalogue's unique indexes: one at a time, until the end of the
// transaction.
const LOCK = 'select pg_advisory_xact_lock(hashtextextended($1, 0))'
const FIND_SCHEMA = 'select 1 from pg_catalog.pg_namespace where nspname = $1'
const FIND_VERSIONS = `select 1 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = 'migration'`
const NO_RIGHT = '42501'
