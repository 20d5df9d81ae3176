import { sleep, systemClock, type Clock } from '../../../core/clock.ts'
import { emitter } from '../../../core/events.ts'
import { anything, checkOptions, clockKind, count, ms } from '../../../core/options.ts'
import { neverAborts, untilAborted } from '../../../core/signals.ts'
import { explained } from '../failures.ts'
import { quotedSchema } from '../identifiers.ts'
import { checkPool, type Queryable } from '../queryable.ts'

export interface PostgresIdempotencyCleanerOptions {
  /** The schema in which `migrate()` made the tables. @defaultValue `'holdfast'` */
  readonly schema?: string
  /** The longest `retainMs` of the pipelines that use the table, in ms. @defaultValue 7 days */
  readonly retainMs?: number
  /** How long to keep a key that was neither settled nor claimed again, in ms. @defaultValue 30 days */
  readonly abandonedMs?: number
  /** Wait between two clean-ups in ms. @defaultValue 60_000 */
  readonly everyMs?: number
  /** Most keys that one statement deletes. @defaultValue 1000 */
  readonly batchSize?: number
  readonly clock?: Clock
}

export interface PostgresIdempotencyCleaner {
  /** Cleans up regularly until the signal aborts. Waits while the database is down. */
  run(signal: AbortSignal): Promise<void>
  /** Deletes the expired keys now. Returns how many. */
  clean(signal?: AbortSignal): Promise<number>
}

const where = 'postgresIdempotencyCleaner'
const storeFailed = emitter('store-failed')

/**
 * Deletes keys whose retention is over, by whole days and in small statements. It only frees disk space: expired keys count
 * as unknown anyway. Any number of processes may run one.
 */
export function postgresIdempotencyCleaner(
  pool: Queryable,
  options: PostgresIdempotencyCleanerOptions = {},
): PostgresIdempotencyCleaner {
  const {
    schema = 'holdfast',
    retainMs = 7 * 86_400_000,
    abandonedMs = 30 * 86_400_000,
    everyMs = 60_000,
    batchSize = 1000,
    clock = systemClock,
  } = checkOptions(where, options, {
    schema: anything,
    retainMs: ms(),
    abandonedMs: ms(),
    everyMs: ms(),
    batchSize: count(),
    clock: clockKind,
  })
  checkPool(where, pool)

  const quoted = quotedSchema(where, schema)
  const table = `${quoted}.idempotency`
  // The day bounds the scan to keys old enough to be over; `statement_timestamp()`, since a volatile function is no
  // index condition. What is locked is being claimed again right now. What is parked is not over, however old it is.
  const cleanSql = `
delete from ${table} where ctid = any (array(
  select ctid from ${table}
  where added_on < ((statement_timestamp() - $1::float8 * interval '1 ms') at time zone 'utc')::date
    and (retain_until < statement_timestamp()
      or (state in ('released', 'in-progress')
        and lease_until < statement_timestamp() - $2::float8 * interval '1 ms'))
    and not exists (select from ${quoted}.parked as p where p.scope = idempotency.scope and p.claim_key = idempotency.key)
  order by added_on
  limit $3
  for update skip locked))`

  async function clean(signal: AbortSignal = neverAborts): Promise<number> {
    for (let cleaned = 0; ;) {
      const answer = pool.query(cleanSql, [retainMs, abandonedMs, batchSize]).catch((error: unknown) => {
        throw explained(where, schema, error)
      })
      const { rowCount } = await untilAborted(signal, answer)
      cleaned += rowCount ?? 0
      if ((rowCount ?? 0) < batchSize || signal.aborted) return cleaned
    }
  }

  function report(error: unknown, { aborted }: AbortSignal): void {
    // At the end it is the wait that failed, not the store.
    if (!aborted && storeFailed.active()) storeFailed.publish({ store: 'postgresql', operation: 'clean', error })
  }

  return {
    clean,
    async run(signal) {
      while (!signal.aborted) {
        try {
          await clean(signal)
        } catch (error) {
          report(error, signal)
        }
        await sleep(clock, everyMs, signal).catch(() => undefined)
      }
    },
  }
}
