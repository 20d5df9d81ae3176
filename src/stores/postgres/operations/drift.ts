import type { Found } from '../../../operations/store.ts'
import { schemaFeatures, type SchemaFeature } from '../migration.ts'
import { migrationPlan } from '../migration-plan.ts'
import type { PoolClientSlice, PoolSlice, Queryable } from '../queryable.ts'
import { sqlState } from '../failures.ts'
import { textField } from '../rows.ts'

// One line for every object of a schema, with the schema's own name taken out; and the statement that would make it.
const factsSql = `
select 'table ' || c.relname as what, concat_ws(' ', c.relkind, c.relpersistence,
    array_to_string((select array_agg(o order by o) from unnest(c.reloptions) o), ','), pg_get_partkeydef(c.oid)) as facts, null as fix
  from pg_class c where c.relnamespace = to_regnamespace($1) and c.relkind in ('r', 'p')
union all
select 'column ' || c.relname || '.' || a.attname, concat_ws(' ', format_type(a.atttypid, a.atttypmod),
    case when a.attnotnull then 'not null' end, case when co.collname <> 'default' then 'collate ' || co.collname end,
    pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated),
    format('alter table %s add column %I %s', c.oid::regclass, a.attname, format_type(a.atttypid, a.atttypmod))
  from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
  left join pg_collation co on co.oid = a.attcollation
  where c.relnamespace = to_regnamespace($1) and c.relkind in ('r', 'p')
union all
select 'index ' || c.relname, pg_get_indexdef(i.indexrelid) || case when i.indisvalid then '' else ' INVALID' end,
    regexp_replace(pg_get_indexdef(i.indexrelid), '^CREATE (UNIQUE )?INDEX', 'CREATE \\1INDEX CONCURRENTLY')
  from pg_index i join pg_class c on c.oid = i.indexrelid
  where c.relnamespace = to_regnamespace($1) and not exists (select 1 from pg_constraint k where k.conindid = i.indexrelid)
union all
select 'constraint ' || t.relname || '.' || k.conname, pg_get_constraintdef(k.oid) || case when k.convalidated then '' else ' NOT VALID' end,
    format('alter table %s add constraint %I %s not valid', k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid))
  from pg_constraint k join pg_class t on t.oid = k.conrelid where k.connamespace = to_regnamespace($1) and k.contype <> 'n'
union all
select 'function ' || p.proname, p.prosrc || ' ' || p.provolatile::text, pg_get_functiondef(p.oid)
  from pg_proc p where p.pronamespace = to_regnamespace($1) and p.prokind = 'f'
union all
select 'sequence ' || sequencename, concat_ws(' ', data_type, increment_by, cache_size, cycle),
    format('alter sequence %I.%I cache %s', schemaname, sequencename, cache_size)
  from pg_sequences where schemaname = $1`

interface Fact {
  readonly facts: string
  readonly fix: string | null
}

// How an outbox was laid out is chosen when it is made.
const chosen = /^(column outbox\w*\.(shard|slot)|function outbox_shards)$/

/** Compares the schema with the one that this version makes; names alone where the role may not create a schema. */
export async function drift(
  pool: Queryable & PoolSlice<PoolClientSlice>,
  schema: string,
  features: readonly SchemaFeature[],
): Promise<readonly Found[]> {
  try {
    return await compared(pool, schema, features)
  } catch (error) {
    if (sqlState(error) !== '42501') throw error
    const less: Found = {
      level: 'unknown',
      what: 'this role may not create a schema to compare with: only the names of tables and indexes were looked at',
      fix: 'run holdfast doctor as the owner of the database',
    }
    return [less, ...(await missingNames(pool, schema, features))]
  }
}

async function missingNames(
  pool: Queryable,
  schema: string,
  features: readonly SchemaFeature[],
): Promise<readonly Found[]> {
  const { rows } = await pool.query(
    `select name from unnest($2::text[]) as name where not exists (
  select 1 from pg_class c where c.relnamespace = to_regnamespace($1) and c.relname = name)`,
    [schema, namesIn(schema, features)],
  )
  return rows.map((row) => ({ level: 'problem', what: `${textField(row, 'name') ?? ''} is missing`, fix: null }))
}

/** Makes the expected schema in a transaction that is rolled back, and compares the catalogues. */
async function compared(
  pool: Queryable & PoolSlice<PoolClientSlice>,
  schema: string,
  features: readonly SchemaFeature[],
): Promise<readonly Found[]> {
  const expected = `${schema.slice(0, 40)}_expected`
  const client = await pool.connect()
  let broken = true
  try {
    await client.query('begin', [])
    await client.query(
      `select set_config('lock_timeout', '2s', true), set_config('statement_timeout', '30s', true)`,
      [],
    )
    await client.query(migrationPlan({ schema: expected, features, transaction: false }), undefined as never)
    const want = await factsOf(client, expected)
    const have = await factsOf(client, schema)
    await client.query('rollback', [])
    broken = false
    return differences(want, have, expected, schema)
  } finally {
    client.release(broken)
  }
}

async function factsOf(client: Queryable, schema: string): Promise<ReadonlyMap<string, Fact>> {
  const strip = (text: string): string =>
    text.replaceAll(`${schema}.`, '').replaceAll(`"${schema}".`, '').replaceAll(`${schema}_`, '')
  const { rows } = await client.query(factsSql, [schema])
  return new Map(
    rows.map((row) => [
      strip(textField(row, 'what') ?? ''),
      { facts: strip(textField(row, 'facts') ?? ''), fix: textField(row, 'fix') },
    ]),
  )
}

function differences(
  want: ReadonlyMap<string, Fact>,
  have: ReadonlyMap<string, Fact>,
  expected: string,
  schema: string,
): readonly Found[] {
  const found: Found[] = []
  for (const [what, { facts, fix }] of want) {
    if (chosen.test(what)) continue
    const there = have.get(what)
    const ours = fix?.replaceAll(expected, schema) ?? null
    if (there === undefined)
      found.push({ level: 'problem', what: `${what} is missing`, fix: ours === null ? null : `${ours};` })
    else if (there.facts !== facts) {
      const invalid = there.facts.endsWith('INVALID')
      const replaced = what.startsWith('function ') || what.startsWith('sequence ') ? ours : null
      found.push({
        level: 'problem',
        what: invalid
          ? `${what} is invalid: it was not built to the end`
          : `${what} is: ${there.facts.slice(0, 300)}; expected: ${facts.slice(0, 300)}`,
        fix: invalid
          ? `drop index concurrently ${schema}.${what.slice(6)}; ${ours ?? ''};`
          : replaced === null
            ? null
            : `${replaced};`,
      })
    }
  }
  for (const what of have.keys())
    if (!want.has(what) && !what.startsWith('table migration'))
      found.push({ level: 'warning', what: `${what} is not ours`, fix: null })
  return found
}

/** The features whose tables are there. */
export async function featuresOf(pool: Queryable, schema: string): Promise<readonly SchemaFeature[]> {
  const { rows } = await pool.query(`select relname as name from pg_class where relnamespace = to_regnamespace($1)`, [
    schema,
  ])
  const there = new Set(rows.map((row) => textField(row, 'name')))
  return schemaFeatures.filter((feature) => namesIn(schema, [feature]).some((name) => there.has(name)))
}

/** The names of the tables and indexes that the steps of these features make. */
function namesIn(schema: string, features: readonly SchemaFeature[]): readonly string[] {
  const made = /^create (?:unlogged )?(?:table|index|unique index) (?!if )(?:"?\w+"?\.)?"?(\w+)"?/gm
  return [...migrationPlan({ schema, features }).matchAll(made)].map(([, name = '']) => name)
}
