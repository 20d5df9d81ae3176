import { checkArgument, checkOptions, having, text } from '../../../core/options.ts'
import type { Check, Found } from '../../../operations/store.ts'
import { quotedSchema } from '../identifiers.ts'
import { migrations } from '../migrations.ts'
import type { PoolClientSlice, PoolSlice, Queryable } from '../queryable.ts'
import { field, numberField, textField } from '../rows.ts'
import { drift, featuresOf } from './drift.ts'

export interface PostgresChecksOptions {
  /** @defaultValue `'holdfast'` */
  readonly schema?: string
}

const mostSkewMs = 1000

/** Checks of a database with holdfast's tables. They change nothing. */
export function postgresChecks(
  pool: Queryable & PoolSlice<PoolClientSlice>,
  options: PostgresChecksOptions = {},
): readonly Check[] {
  const { schema = 'holdfast' } = checkOptions('postgresChecks', options, { schema: text })
  checkArgument('postgresChecks', 'pool', pool, having('query', 'connect'))
  const quoted = quotedSchema('postgresChecks', schema)

  const rows = async (sql: string, values: unknown[] = []): Promise<readonly unknown[]> =>
    (await pool.query(sql, values)).rows
  const there = async (table: string): Promise<boolean> =>
    field((await rows(`select to_regclass('${quoted}.${table}') is not null as made`))[0], 'made') === true
  /** A check that has nothing to say where its table is not made. */
  const about = (name: string, table: string, look: () => Promise<readonly Found[]>): Check => ({
    name,
    run: async () => ((await there(table)) ? look() : []),
  })

  return [
    {
      name: 'schema version',
      async run() {
        if (!(await there('migration')))
          return [
            { level: 'problem', what: `the schema ${schema} has no tables of holdfast`, fix: 'holdfast migrate apply' },
          ]
        const applied = new Set(
          (await rows(`select version from ${quoted}.migration`)).map((row) => numberField(row, 'version')),
        )
        const missing = migrations.filter(({ version }) => !applied.has(version))
        const newer = [...applied].filter((version) => !migrations.some((each) => each.version === version))
        return [
          ...missing.map(({ version, name }): Found => {
            return { level: 'problem', what: `step ${version} (${name}) is not applied`, fix: 'holdfast migrate apply' }
          }),
          ...newer.map((version): Found => {
            return {
              level: 'warning',
              what: `step ${version} is of a later version of this library`,
              fix: 'upgrade this service',
            }
          }),
        ]
      },
    },
    { name: 'schema drift', run: async () => drift(pool, schema, await featuresOf(pool, schema)) },
    {
      name: 'pooling',
      async run() {
        const clients = [await pool.connect(), await pool.connect()]
        try {
          const pids = new Set<number>()
          let shared = false
          for (let round = 0; round < 8; round++) {
            const both = await Promise.all(
              clients.map(async (client) =>
                numberField((await client.query('select pg_backend_pid() as p', [])).rows[0], 'p'),
              ),
            )
            shared ||= both[0] === both[1]
            for (const pid of both) pids.add(pid)
          }
          // Two clients that are connected at once cannot have one backend, unless a pooler lends it by transaction.
          if (!shared && pids.size <= 2) return []
          return [
            {
              level: 'warning',
              what: 'a pooler lends backends by transaction: session locks and LISTEN do not hold, and prepared statements need pgbouncer 1.21',
              fix: 'pool_mode = session for this user, or max_prepared_statements = 100',
            },
          ]
        } finally {
          for (const client of clients) client.release()
        }
      },
    },
    {
      name: 'clock',
      async run() {
        let [best, skewMs] = [Infinity, 0]
        for (let times = 0; times < 7; times++) {
          const [from, wall] = [performance.now(), Date.now()]
          const [row] = await rows('select extract(epoch from clock_timestamp())::float8 * 1000 as ms')
          const tripMs = performance.now() - from
          if (tripMs < best) [best, skewMs] = [tripMs, numberField(row, 'ms') - (wall + tripMs / 2)]
        }
        if (Math.abs(skewMs) <= mostSkewMs + best) return []
        const what = `the clock of the database is ${Math.round(skewMs)} ms ahead of this machine's`
        return [{ level: 'warning', what, fix: 'chronyc makestep, on the machine that is wrong' }]
      },
    },
    {
      name: 'publications',
      async run() {
        const found = await rows(
          `select c.oid::regclass::text as t from pg_class c
where c.relnamespace = to_regnamespace($1) and c.relkind = 'r'
  and (c.relreplident = 'n' or (c.relreplident = 'd'
    and not exists (select 1 from pg_index i where i.indrelid = c.oid and i.indisprimary)))
  and exists (select 1 from pg_publication p where (p.pubupdate or p.pubdelete) and (p.puballtables
    or exists (select 1 from pg_publication_rel r where r.prpubid = p.oid
      and (r.prrelid = c.oid or r.prrelid in (select relid from pg_partition_ancestors(c.oid))))
    or exists (select 1 from pg_publication_namespace n where n.pnpubid = p.oid and n.pnnspid = c.relnamespace)))`,
          [schema],
        )
        return found.map((row) => {
          const table = textField(row, 't') ?? ''
          return {
            level: 'problem',
            what: `${table} is in a publication of updates and has no replica identity: every UPDATE of it fails`,
            fix: `alter table ${table} replica identity full;`,
          }
        })
      },
    },
    {
      name: 'dead rows',
      async run() {
        const found = await rows(
          `select relid::regclass::text as t, n_dead_tup::float8 as dead, n_live_tup::float8 as live from pg_stat_user_tables
where schemaname = $1 and n_dead_tup > greatest(10000, n_live_tup)`,
          [schema],
        )
        return found.map((row) => {
          const table = textField(row, 't') ?? ''
          const what = `${table} has ${numberField(row, 'dead')} dead rows beside ${numberField(row, 'live')} live ones`
          return { level: 'warning', what, fix: `vacuum ${table};` }
        })
      },
    },
    {
      name: 'what holds clean-up back',
      async run() {
        const found = await rows(
          `select 'prepared transaction ' || gid as holder, format('rollback prepared %L', gid) as fix from pg_prepared_xacts
  where prepared < now() - interval '5 min'
union all select 'replication slot ' || slot_name, format('select pg_drop_replication_slot(%L)', slot_name)
  from pg_replication_slots where not active and age(coalesce(xmin, catalog_xmin)) > 1000000
union all select 'backend ' || pid || ', ' || state || ' since ' || xact_start::timestamp(0), format('select pg_terminate_backend(%s)', pid)
  from pg_stat_activity where backend_xmin is not null and now() - xact_start > interval '5 min' and backend_type = 'client backend'`,
        )
        return found.map((row) => {
          const what = `${textField(row, 'holder') ?? ''} keeps dead rows from being cleaned up`
          return { level: 'warning', what, fix: `${textField(row, 'fix') ?? ''};` }
        })
      },
    },
    about('letters whose key is forgotten', 'dead_letter', async () => {
      if (!(await there('idempotency'))) return []
      const [row] = await rows(
        `select count(*)::int as n from (select 1 from ${quoted}.dead_letter d where d.state = 'dead' and d.claim_key is not null
  and not exists (select 1 from ${quoted}.idempotency i where i.scope = d.claim_scope and i.key = d.claim_key) limit 10000) x`,
      )
      const n = numberField(row, 'n')
      if (n === 0) return []
      const what = `${n} dead letters have a key that the store no longer knows: redeliveries of them run again`
      return [{ level: 'warning', what, fix: 'a longer retainMs of idempotency() than letters stay dead' }]
    }),
    about('letters without a result', 'dead_letter', async () => {
      const [row] = await rows(
        `select count(*)::int as n from ${quoted}.dead_letter d where d.state = 'redriving' and d.changed_at < now() - interval '1 h'
  and not exists (select 1 from ${quoted}.redrive_item i join ${quoted}.redrive r on r.id = i.redrive
    where i.letter = d.id and i.result is null and r.state in ('running', 'paused'))`,
      )
      const n = numberField(row, 'n')
      if (n === 0) return []
      const what = `${n} letters were sent more than an hour ago, and nothing was heard of them`
      return [{ level: 'warning', what, fix: 'holdfast dlq ls --state redriving, then holdfast dlq reopen <letter>' }]
    }),
    about('redrives without a worker', 'redrive', async () => {
      const found = await rows(
        `select r.id::text from ${quoted}.redrive r where r.state = 'running' and r.created_at < now() - interval '5 min'
  and not exists (select 1 from ${quoted}.redrive_lane l where l.redrive = r.id and l.token is not null and l.next_at > now())`,
      )
      return found.map((row) => {
        const what = `redrive ${textField(row, 'id') ?? ''} is running, and no worker has one of its keys`
        return {
          level: 'warning',
          what,
          fix: 'redriveWorker({ store, pipelines }).run(signal), in the service that has the pipeline',
        }
      })
    }),
    about('outbox shards', 'outbox_shard', async () => {
      const [row] = await rows(
        // One that no relay ever held is harmless while nothing waits.
        `select count(*)::int as n from ${quoted}.outbox_shard where lease_until < clock_timestamp()
  and (owner is not null or exists (select 1 from ${quoted}.outbox))`,
      )
      const n = numberField(row, 'n')
      return n === 0
        ? []
        : [
            {
              level: 'problem',
              what: `${n} shards of the outbox have no relay`,
              fix: 'outboxRelay({ … }).run(signal), in at least one process',
            },
          ]
    }),
    about('keys without a holder', 'idempotency', async () => {
      const [row] = await rows(
        `select count(*)::int as n from (select 1 from ${quoted}.idempotency
  where state = 'in-progress' and lease_until < now() - interval '10 min' limit 10000) x`,
      )
      const n = numberField(row, 'n')
      return n === 0
        ? []
        : [
            {
              level: 'warning',
              what: `${n} keys were claimed and never settled, and nobody came for them again`,
              fix: 'holdfast keys ls',
            },
          ]
    }),
  ]
}
