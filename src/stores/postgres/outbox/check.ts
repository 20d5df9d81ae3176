import { HoldfastError } from '../../../core/errors.ts'
import { outboxVersion } from './schema.ts'
import type { QueryAnswer } from '../queryable.ts'
import { flagField, numberField, textField } from '../rows.ts'

type Run = (text: string, values: unknown[]) => Promise<QueryAnswer>

/** Refuses to start on what cannot work, with one clear error that names the remedy. */
export async function checkOutbox(run: Run, schema: string, quoted: string, sequences: boolean): Promise<void> {
  const { rows } = await run(
    `select pg_is_in_recovery() as standby,
  to_regproc('${quoted}.outbox_version') is not null as made`,
    [],
  )
  if (flagField(rows[0], 'standby'))
    throw new HoldfastError('unavailable', 'outbox: this server is a standby: connect the relay to the primary')
  if (!flagField(rows[0], 'made'))
    throw badSchema(`the schema ${schema} has no outbox: run migrate(pool, { schema: '${schema}' })`)
  const found = await run(
    `select ${quoted}.outbox_version() as version, ${quoted}.outbox_shards() as wanted,
  (select count(*) from ${quoted}.outbox_shard)::int as shards`,
    [],
  )
  const version = numberField(found.rows[0], 'version')
  if (version < outboxVersion)
    throw badSchema(
      `the outbox in schema ${schema} has version ${version}, this relay needs ${outboxVersion}: migrate it`,
    )
  if (version > outboxVersion)
    throw badSchema(
      `the outbox in schema ${schema} has version ${version}, newer than ${outboxVersion}: upgrade this relay`,
    )
  const changed = shardsChanged(schema, numberField(found.rows[0], 'shards'), numberField(found.rows[0], 'wanted'))
  if (changed !== null) throw badSchema(changed)
  await checkRights(run, schema, quoted)
  if (sequences) await checkSequences(run, quoted)
  // Windows are bound to the server's timeline, which some hosted servers refuse to tell.
  await run(
    `select ${quoted}.outbox_cluster(), ${quoted}.outbox_timeline(), pg_current_wal_insert_lsn(), pg_current_wal_flush_lsn()`,
    [],
  )
}

/** Why the number of shards is not to be trusted; `null` where it is. */
export function shardsChanged(schema: string, shards: number, wanted: number): string | null {
  if (shards === wanted) return null
  return (
    `the outbox in schema ${schema} has ${shards} shard rows, but its keys are spread over ${wanted}: messages would be ` +
    `left behind or reordered. Change the number with changeOutboxShards(pool, { schema, shards }) only`
  )
}

/** Numbers that a crash of the server takes back would be given to other messages. */
async function checkSequences(run: Run, quoted: string): Promise<void> {
  const { rows } = await run(
    `select sequence, current_setting('synchronous_commit') as sync from ${quoted}.outbox_shard limit 1`,
    [],
  )
  if (textField(rows[0], 'sync') === 'off')
    throw badSchema(
      `sequences need commits that are on the disk, and this role has synchronous_commit = off. Run: alter role … set synchronous_commit = on`,
    )
}

async function checkRights(run: Run, schema: string, quoted: string): Promise<void> {
  const wanted: readonly (readonly [string, string])[] = [
    ['outbox', 'select'],
    ['outbox', 'insert'],
    ...[0, 1, 2].map((slot) => [`outbox_${slot}`, 'truncate'] as const),
    ['outbox_shard', 'select'],
    ['outbox_shard', 'update'],
    ['outbox_relay', 'insert'],
    ['outbox_relay', 'update'],
    ['outbox_relay', 'delete'],
    ['outbox_dead', 'insert'],
    ['outbox_delayed', 'select'],
    ['outbox_delayed', 'delete'],
    // For the locks on its rows.
    ['outbox_delayed', 'update'],
  ]
  const { rows } = await run(
    `select t.name || ' (' || t.wanted || ')' as missing from unnest($1::text[], $2::text[]) t (name, wanted)
where not has_table_privilege('${quoted}.' || t.name, t.wanted)`,
    [wanted.map(([name]) => name), wanted.map(([, right]) => right)],
  )
  const missing = rows.map((row) => String(textField(row, 'missing')))
  if (missing.length > 0)
    throw badSchema(
      `the relay's role lacks rights: ${missing.join(', ')}. Run what outboxGrants({ schema: '${schema}', relay }) prints`,
    )
}

function badSchema(what: string): HoldfastError {
  return new HoldfastError('bad-schema', `outbox: ${what}`)
}
