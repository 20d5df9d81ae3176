import type { StatementRunner } from '../../../core/delivery.ts'
import type { Age, Mark, TransactionalSequenceStore } from '../../../ordering/store.ts'
import { checkOptions, requireMs, text } from '../../../core/options.ts'
import { quotedSchema } from '../identifiers.ts'
import { checkPool, type Queryable } from '../queryable.ts'
import { flagField } from '../rows.ts'

export interface PostgresSequenceStoreOptions {
  /** Where the tables are. @defaultValue `'holdfast'` */
  readonly schema?: string
}

export interface PostgresSequenceStore extends TransactionalSequenceStore {
  /** Deletes marks that have not moved for that many ms. Returns how many. Choose a time longer than a repeat can be late. */
  clean(olderThanMs: number): Promise<number>
}

/** Keeps the marks of `sequence()` in PostgreSQL. Use the database of the handler's transaction. */
export function postgresSequenceStore(
  pool: Queryable,
  options: PostgresSequenceStoreOptions = {},
): PostgresSequenceStore {
  const { schema = 'holdfast' } = checkOptions('postgresSequenceStore', options, { schema: text })
  checkPool('postgresSequenceStore', pool)
  const table = `${quotedSchema('postgresSequenceStore', schema)}.outbox_mark`
  const found = `select (timeline, id) = ($5::bigint, $6::bigint) as same, (timeline, id) > ($5::bigint, $6::bigint) as ahead
from ${table} where scope = $1 and destination = $2 and source = $3 and key = $4`
  // The row stays locked until the transaction ends; a session that waited compares with what was committed.
  const moved = `insert into ${table} as m (scope, destination, source, key, timeline, id, marked_at)
values ($1, $2, $3, $4, $5::bigint, $6::bigint, clock_timestamp())
on conflict (scope, destination, source, key) do update
set timeline = excluded.timeline, id = excluded.id, marked_at = excluded.marked_at
where (m.timeline, m.id) < (excluded.timeline, excluded.id) returning 1 as moved`

  async function look(tx: StatementRunner | Queryable, mark: Mark): Promise<Age> {
    const { rows } = await tx.query(found, values(mark))
    if (flagField(rows[0], 'same')) return 'same'
    return flagField(rows[0], 'ahead') ? 'stale' : 'newer'
  }

  async function advance(tx: StatementRunner | Queryable, mark: Mark): Promise<Age> {
    const { rows } = await tx.query(moved, values(mark))
    return rows.length > 0 ? 'newer' : look(tx, mark)
  }

  return {
    name: 'postgresql',
    async look(mark, { signal } = {}) {
      signal?.throwIfAborted()
      return look(pool, mark)
    },
    async advance(mark, { signal } = {}) {
      signal?.throwIfAborted()
      return advance(pool, mark)
    },
    advanceIn: (tx, mark) => advance(tx, mark),
    async clean(olderThanMs) {
      requireMs('postgresSequenceStore', { olderThanMs })
      const text = `delete from ${table} where marked_at < clock_timestamp() - $1 * interval '1 ms'`
      return (await pool.query(text, [olderThanMs])).rowCount ?? 0
    },
  }
}

function values({ scope, destination, source, key, timeline, id }: Mark): string[] {
  return [scope, destination, source, key, String(timeline), String(id)]
}
