import { systemClock, type Clock } from '../../../core/clock.ts'
import {
  anything,
  checkArgument,
  checkOptions,
  clockKind,
  flag,
  having,
  requireMs,
  text,
} from '../../../core/options.ts'
import type { OutboxStore } from '../../../outbox/store.ts'
import { quotedSchema } from '../identifiers.ts'
import { checkOutbox, shardsChanged } from './check.ts'
import { explained, explaining } from './errors.ts'
import { postgresOutboxLease } from './lease.ts'
import { underLock } from './lock.ts'
import { rotateOutbox } from './rotation.ts'
import { outboxStatements } from './statements.ts'
import type { PoolClientSlice, PoolSlice, Queryable, QueryAnswer } from '../queryable.ts'
import { flagField, numberField, textField } from '../rows.ts'

export interface PostgresOutboxStoreOptions {
  /** Where the tables are. @defaultValue `'holdfast'` */
  readonly schema?: string
  /**
   * How long published messages may stay unrecorded, in ms. A crash publishes those again. A higher value writes less.
   * @defaultValue 100
   */
  readonly persistEveryMs?: number
  /**
   * Publishes a message only after its commit is on disk. Needed if writers use `synchronous_commit = off`: a server crash
   * could otherwise undo a transaction whose messages were published already.
   * @defaultValue false
   */
  readonly flushedOnly?: boolean
  /**
   * Numbers the messages of each shard, and gives a repeat its old number. `pulsarPublisher` hands the numbers to a broker
   * that deduplicates: then a crash repeats nothing. Costs one write more for each page. All relays of an outbox should
   * have it or none.
   * @defaultValue false
   */
  readonly sequences?: boolean
  readonly clock?: Clock
}

/**
 * The outbox of one schema, for relays. It must be on the primary. Each statement is its own transaction, so a pool behind
 * pgbouncer in transaction mode works. Three connections are enough.
 */
export function postgresOutboxStore<Client extends PoolClientSlice>(
  pool: PoolSlice<Client> & Queryable,
  options: PostgresOutboxStoreOptions = {},
): OutboxStore {
  const {
    schema = 'holdfast',
    persistEveryMs = 100,
    flushedOnly = false,
    sequences = false,
    clock = systemClock,
  } = checkOptions('postgresOutboxStore', options, {
    schema: text,
    persistEveryMs: anything,
    flushedOnly: flag,
    sequences: flag,
    clock: clockKind,
  })
  checkArgument('postgresOutboxStore', 'pool', pool, having('query', 'connect'))
  requireMs('postgresOutboxStore', { persistEveryMs }, 0)
  const quoted = quotedSchema('postgresOutboxStore', schema)
  const statements = outboxStatements(quoted, { sequences })

  const run = explaining(pool, schema)

  async function runUnderLock(lock: string, text: string, values: unknown[]): Promise<QueryAnswer | 'locked'> {
    try {
      return await underLock(pool, lock, (client) => client.query(text, values))
    } catch (error) {
      throw explained(error, schema)
    }
  }

  return {
    name: 'postgresql',
    check: () => checkOutbox(run, schema, quoted, sequences),
    async attend(owner, leaseMs) {
      const { rows } = await run(statements.attend, [owner, leaseMs])
      const [row] = rows
      const shards = numberField(row, 'shards')
      const relays = numberField(row, 'others') + 1
      const extra = numberField(row, 'before') < shards % relays ? 1 : 0
      const foreign = numberField(row, 'strangers') > 0
      return {
        shards,
        relays,
        share: Math.floor(shards / relays) + extra,
        refused: foreign ? foreignCluster(schema) : shardsChanged(schema, shards, numberField(row, 'wanted')),
      }
    },
    async claim(owner, leaseMs, held) {
      const { rows } = await run(statements.claim, [owner, leaseMs, held])
      const [claimed] = rows
      if (claimed === undefined) return null
      const settings = { leaseMs, persistEveryMs, flushedOnly, sequences, clock }
      return postgresOutboxLease({ claimed, ...settings, statements, run, runUnderLock })
    },
    async leave(owner) {
      await run(statements.leave, [owner])
    },
    rotate: ({ signal } = {}) => rotateOutbox(pool, run, statements, clock, signal),
    async status() {
      const pendingLimit = 100_000
      const { rows } = await run(statements.status, [pendingLimit])
      const ages = rows.map((row) => textField(row, 'oldest_age_ms')).filter((age) => age !== null)
      return {
        pendingLimit,
        pending: rows.reduce<number>((sum, row) => sum + numberField(row, 'pending'), 0),
        oldestAgeMs: ages.length === 0 ? null : Math.max(...ages.map(Number)),
        delayed: numberField(rows[0], 'delayed'),
        dead: numberField(rows[0], 'dead'),
        shards: rows.map((row) => ({
          shard: numberField(row, 'shard'),
          owner: textField(row, 'owner'),
          epoch: BigInt(textField(row, 'epoch') ?? 0),
          held: flagField(row, 'held'),
        })),
      }
    },
  }
}

function foreignCluster(schema: string): string {
  return (
    `the outbox in schema ${schema} was moved: its positions belong to another server, database or table (a restored ` +
    `dump, a copy, an upgrade). Nothing is published or cleaned up until an operator runs adoptOutbox(pool, { schema })`
  )
}
