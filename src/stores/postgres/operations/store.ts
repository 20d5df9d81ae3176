import { checkArgument, checkOptions, count, having, ms, text } from '../../../core/options.ts'
import type { OperatorStore } from '../../../operations/store.ts'
import { postgresCircuits } from '../circuits/circuits.ts'
import { postgresDeadLetters, type PostgresDeadLetters } from '../dead-letter/dead-letters.ts'
import { storable } from '../dead-letter/rows.ts'
import { bounded, runner } from '../dead-letter/run.ts'
import { sqlState } from '../failures.ts'
import { quotedSchema } from '../identifiers.ts'
import type { SchemaFeature } from '../migration.ts'
import { migrations } from '../migrations.ts'
import { postgresOutboxDead } from '../outbox/dead.ts'
import { postgresOutboxStore } from '../outbox/store.ts'
import type { PoolClientSlice, PoolSlice, Queryable } from '../queryable.ts'
import { field, numberField, textField } from '../rows.ts'
import { claimRecords } from './claims.ts'
import { erasure } from './erase.ts'
import { laneOperations } from './lanes.ts'
import { messageTraces } from './traces.ts'

export interface PostgresOperatorStoreOptions {
  /** Where `migrate()` made the tables. @defaultValue `'holdfast'` */
  readonly schema?: string
  /** The store of the dead letters, with its encryption and its grouping. @defaultValue `postgresDeadLetters(pool, { schema })` */
  readonly letters?: PostgresDeadLetters
  /** Longest query in ms. @defaultValue 15_000 */
  readonly questionMs?: number
}

const where = 'postgresOperatorStore'
/** What operators cannot do without. */
const own: ReadonlySet<SchemaFeature> = new Set(['idempotency', 'dead-letter'])

/** What operators see and do in a PostgreSQL schema of holdfast. */
export function postgresOperatorStore(
  pool: Queryable & PoolSlice<PoolClientSlice>,
  options: PostgresOperatorStoreOptions = {},
): OperatorStore {
  checkArgument(where, 'pool', pool, having('query'))
  const {
    schema = 'holdfast',
    questionMs = 15_000,
    letters: given,
  } = checkOptions(where, options, {
    schema: text,
    letters: having('list', 'publish'),
    questionMs: ms(),
  })
  const quoted = quotedSchema(where, schema)
  const letters = given ?? postgresDeadLetters(pool, { schema, questionMs })
  const run = runner(pool, where, schema)
  const ask = bounded(pool, where, schema, questionMs)
  const note = (by: string, act: string, detail: unknown): Promise<void> => letters.note({ by, act, detail })
  const dead = postgresOutboxDead(pool, { schema })
  const outboxStore = postgresOutboxStore(pool, { schema })
  const circuits = postgresCircuits(pool, { schema })

  return {
    letters,
    ...claimRecords({ run, ask, quoted, note }),
    ...laneOperations({ run, ask, quoted, note }),
    ...erasure({ run, ask, quoted, note, letters }),
    traces: messageTraces({ ask, quoted, letters, pool, schema }),
    async schema() {
      const rows = await appliedRows(ask, quoted)
      const applied = rows.map((row) => ({
        version: numberField(row, 'version'),
        name: textField(row, 'name') ?? '',
        atMs: numberField(row, 'at_ms'),
      }))
      const versions = new Set(applied.map(({ version }) => version))
      const known = new Set(migrations.map(({ version }) => version))
      const used = new Set(migrations.filter(({ version }) => versions.has(version)).map(({ feature }) => feature))
      return {
        applied,
        missing: migrations
          .filter(({ version }) => !versions.has(version))
          .map(({ version, name, feature }) => ({ version, name, needed: used.has(feature) || own.has(feature) })),
        newer: applied.filter(({ version }) => !known.has(version)),
      }
    },
    async outbox() {
      const { rows } = await ask(`select to_regclass('${quoted}.outbox_shard') is not null as made`, [])
      return field(rows[0], 'made') === true ? outboxStore.status() : undefined
    },
    async circuits() {
      const { rows } = await ask(`select to_regclass('${quoted}.circuit') is not null as made`, [])
      return field(rows[0], 'made') === true ? ((await circuits.list?.()) ?? []) : []
    },
    async outboxDead({ limit = 50, after } = {}) {
      checkArgument('outboxDead', 'limit', limit, count())
      const rows = await dead.list({ limit, ...(after !== undefined && { after }) })
      return rows.map(({ position, destination, key, id, error, addedMs, diedMs }) => {
        return { position, destination, key, messageId: id, error, addedMs, diedMs }
      })
    },
    async outboxReplay(positions, by) {
      const replayed = await dead.sendAgain(positions)
      await note(by, 'outbox replay', { positions, replayed })
      return replayed
    },
    async outboxSkip(positions, by) {
      const skipped = await dead.remove(positions)
      await note(by, 'outbox skip', { positions, skipped })
      return skipped
    },
    async cleanJournal(olderThanMs) {
      const { rowCount } = await run(
        `delete from ${quoted}.journal where id in (
  select id from ${quoted}.journal where at < statement_timestamp() - $1::float8 * interval '1 ms' order by at limit 10000)`,
        [olderThanMs],
      )
      return rowCount ?? 0
    },
    async writeJournal(entries) {
      await run(
        `insert into ${quoted}.journal (message_id, pipeline, what, attempt, at, detail)
select m, p, w, a, 'epoch'::timestamptz + t * interval '1 ms', d
from unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::float8[], $6::text[]) as x (m, p, w, a, t, d)`,
        [
          entries.map(({ messageId }) => storable(messageId)),
          entries.map(({ pipeline }) => storable(pipeline)),
          entries.map(({ what }) => storable(what)),
          entries.map(({ attempt }) => attempt),
          entries.map(({ atMs }) => atMs),
          entries.map(({ detail }) => (detail === null ? null : storable(detail).slice(0, 1024))),
        ],
      )
    },
  }
}

async function appliedRows(ask: ReturnType<typeof runner>, quoted: string): Promise<readonly unknown[]> {
  try {
    const { rows } = await ask(
      `select version, name, extract(epoch from applied_at)::float8 * 1000 as at_ms from ${quoted}.migration order by version`,
      [],
    )
    return rows
  } catch (error) {
    if (sqlState(error) === '42P01' || sqlState(error) === '3F000') return []
    throw error
  }
}
