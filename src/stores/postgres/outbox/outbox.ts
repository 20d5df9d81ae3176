import {
  outbox,
  type AddOptions,
  type Outbox,
  type OutboxEntry,
  type OutboxOptions,
  outboxKinds,
} from '../../../outbox/outbox.ts'
import type { Bytes } from '../../../core/message.ts'
import { quotedSchema } from '../identifiers.ts'
import { explained } from './errors.ts'
import { viaAnyQuery, type OutboxValue, type QueryRunner, type Via } from './via.ts'
import { callback, checkOptions, flag, text } from '../../../core/options.ts'

export interface PostgresOutboxOptions<Tx, Body> extends OutboxOptions<Body> {
  /** Where the tables are. @defaultValue `'holdfast'` */
  readonly schema?: string
  /** Runs a statement in the caller's transaction. @defaultValue `tx.query(text, values)`, as in pg and TypeORM */
  readonly via?: Via<Tx>
  /**
   * The default of `strictOrder` in `add`. `true` locks each key until its transaction ends. Two transactions that add the
   * same two keys in separate calls and opposite orders then deadlock.
   * @defaultValue false
   */
  readonly strictOrder?: boolean
}

/** Adds messages in the caller's own PostgreSQL transaction, with one plain INSERT through any client. */
export function postgresOutbox<Tx = QueryRunner, Body = Bytes>(
  options: PostgresOutboxOptions<Tx, Body> = {},
): Outbox<Tx, Body> {
  const {
    schema = 'holdfast',
    via = viaAnyQuery,
    strictOrder: always = false,
    ...rest
  } = checkOptions('postgresOutbox', options, { schema: text, via: callback, strictOrder: flag, ...outboxKinds })
  const statements = insertStatements(quotedSchema('postgresOutbox', schema))
  return outbox<Tx, Body>(async function insert(tx, entries, { strictOrder = always, signal }: AddOptions) {
    try {
      const runs = runsOf(entries)
      // One statement locks by itself; before several, all keys are locked, or two callers could wait for each other.
      const alone = runs.length === 1
      if (strictOrder && !alone) await via(tx, statements.lock, [keysOf(entries)])
      for (const { table, rows } of runs) {
        signal?.throwIfAborted()
        const keyed = rows.length > 1 || rows[0]?.key !== null
        const text =
          strictOrder && alone && keyed ? statements.strict(table, rows.length) : statements.plain(table, rows.length)
        await via(tx, text, rows.flatMap(table === 'outbox_delayed' ? delayedValues : values))
      }
    } catch (error) {
      throw explained(error, schema)
    }
  }, rest)
}

type Table = 'outbox' | 'outbox_delayed'

interface Run {
  readonly table: Table
  readonly rows: OutboxEntry[]
}

// PostgreSQL takes 65,535 parameters a statement.
const rowsPerStatement = 1000

/** Neighbours that go to the same table, in the order given. */
function runsOf(entries: readonly OutboxEntry[]): readonly Run[] {
  const runs: Run[] = []
  for (const entry of entries) {
    const table: Table = entry.dueMs === null ? 'outbox' : 'outbox_delayed'
    const last = runs.at(-1)
    if (last !== undefined && last.table === table && last.rows.length < rowsPerStatement) last.rows.push(entry)
    else runs.push({ table, rows: [entry] })
  }
  return runs
}

/** As JSON: no client has to know how to send an array. */
function keysOf(entries: readonly OutboxEntry[]): string {
  return JSON.stringify([...new Set(entries.map(({ key }) => key))])
}

function values({ destination, key, type, id, headers, body }: OutboxEntry): OutboxValue[] {
  return [destination, key, type, id, headers, body]
}

function delayedValues(entry: OutboxEntry): OutboxValue[] {
  return [...values(entry), String(entry.dueMs)]
}

interface InsertStatements {
  readonly lock: string
  plain(table: Table, rows: number): string
  strict(table: Table, rows: number): string
}

function insertStatements(schema: string): InsertStatements {
  const columns = 'topic, key, type, message_id, headers, payload'
  const columnsOf = { outbox: columns, outbox_delayed: `${columns}, due_at` }
  const width = { outbox: 6, outbox_delayed: 7 }
  const single = { outbox: plain('outbox', 1), outbox_delayed: plain('outbox_delayed', 1) }
  const strictSingle = { outbox: strictRow('outbox'), outbox_delayed: strictRow('outbox_delayed') }

  /**
   * The casts tell every client the same: without them some would send the headers as JSON within JSON. Where the table
   * says the type, none is written: each is looked up anew for every INSERT.
   */
  function tuple(table: Table, row: number, text = '', bytes = ''): string {
    const at = (place: number): string => `$${row * width[table] + place}`
    const texts = [1, 2, 3, 4].map((place) => at(place) + text).join(', ')
    const cells = `${texts}, ${at(5)}::text::jsonb, ${at(6)}${bytes}`
    return table === 'outbox' ? cells : `${cells}, to_timestamp(${at(7)}::text::float8 / 1000)`
  }

  function plain(table: Table, rows: number): string {
    const tuples = Array.from({ length: rows }, (_, row) => `(${tuple(table, row)})`)
    return `insert into ${schema}.${table} (${columnsOf[table]}) values ${tuples.join(', ')}`
  }

  /** One message has one key to lock. The id is drawn for the row that the lock returns, so once it is held. */
  function strictRow(table: Table): string {
    return `with l as materialized (select pg_advisory_xact_lock(hashtextextended($2::text, ${lockSeed})))
insert into ${schema}.${table} (${columnsOf[table]}) select ${tuple(table, 0, '::text', '::bytea')} from l`
  }

  /** Locks the keys of a table `v` in the order of their numbers, so that two transactions do not wait for each other. */
  const locks = `l as materialized (select pg_advisory_xact_lock(k) from (
  select distinct hashtextextended(key, ${lockSeed}) as k from v where key is not null order by 1) o)`

  return {
    lock: `with v as materialized (select key from jsonb_array_elements_text($1::text::jsonb) t (key)),
${locks}
select count(*)::int as held from l`,
    plain: (table, rows) => (rows === 1 ? single[table] : plain(table, rows)),
    /** The ids are drawn once every lock is held: the count needs all of them, and the rows need the count. */
    strict(table, rows) {
      if (rows === 1) return strictSingle[table]
      const tuples = Array.from({ length: rows }, (_, row) => `(${row}, ${tuple(table, row, '::text', '::bytea')})`)
      return `with v (n, ${columnsOf[table]}) as materialized (values ${tuples.join(', ')}),
${locks}
insert into ${schema}.${table} (${columnsOf[table]})
select ${columnsOf[table]} from v, (select count(*) as held from l) c where c.held >= 0 order by v.n`
    },
  }
}

// Apart from the advisory locks that a service takes itself: most are hashes with the seed 0.
const lockSeed = 7_061_995
