/**
 * What operators ask of very many dead letters, next to a plain `count(*)` of a bare table with as many rows of the same
 * size, in the same rounds. It prints a table. `node scripts/measure/letters.ts [letters] [rounds]`
 * HOLDFAST_KEEP_SCHEMA names a schema that is kept, and used as it is where it is there already.
 */
import pg from 'pg'
import { operations } from '../../src/operations/index.ts'
import { migrate, postgresDeadLetters, postgresOperatorStore } from '../../src/stores/postgres/index.ts'

const [total = 1_000_000, rounds = 3] = process.argv.slice(2).map(Number)
const url = process.env['HOLDFAST_POSTGRES_URL']
if (url === undefined) throw new Error('letters: set HOLDFAST_POSTGRES_URL; npm run services -- up prints it')
const kept = process.env['HOLDFAST_KEEP_SCHEMA']
const schema = kept ?? `letters_${Date.now().toString(36)}`
const pool = new pg.Pool({ connectionString: url, max: 8 })
const say = (text: string): void => void process.stdout.write(`${text}\n`)
const note = (text: string): void => void process.stderr.write(`${text}\n`)

/** 40 groups, most letters in few of them; 6 pipelines; one key with a twentieth of all letters; 0.9 KB each; 60 days. */
const shape = `least(39, floor(-ln(1 - ((hashint8(n) & 2147483647) % 999983) / 999984.0) * 6)::int)`
const key = `case when n % 20 = 0 then 'hot' when n % 11 = 0 then null else 'customer-' || (hashint8(n + 1) & 2147483647) % 200000 end`
const pipelineOf = `(array['billing','shipping','mail','search','stock','fraud'])[1 + n % 6]`
const at = `now() - (${total} - n) * interval '60 days' / ${total}`
const headers = `convert_to('[["tenant","t' || n % 50 || '"],["traceparent","00-' || md5(n::text) || '-0102030405060708-01"]]', 'UTF8')`
const body = `convert_to(repeat(md5(n::text), 25), 'UTF8')`
const error = `'Order ' || n || ' not found: shape ' || chr(97 + ${shape})`
const all = `from generate_series(1, ${total}) n`

const bareSql = `
create unlogged table ${schema}.bare (id bigint, message_id text, headers bytea, body bytea, error text, at timestamptz);
insert into ${schema}.bare select n, 'message-' || n, ${headers}, ${body}, ${error}, ${at} ${all};
alter table ${schema}.bare add primary key (id);
insert into ${schema}.idempotency (scope, key, state, token, attempts, retain_until)
select ${pipelineOf}, 'message-' || n, case when n % 40 = 0 then 'completed' else 'failed' end, n, 1, now() + interval '7 days' ${all};
insert into ${schema}.redrive (state, route, by, filter, max_redrives, total, ended_at)
values ('done', 'pipeline', 'ana', '{}', 3, ${Math.floor(total / 4)}, now());
insert into ${schema}.redrive_item (redrive, lane, letter, generation, result)
select 1, -n, n, n, 'dead' from generate_series(4, ${total}, 4) n`
const lettersSql = `
insert into ${schema}.dead_letter (id, fold, state, pipeline, system, destination, partition, position, origin_group,
  message_id, key, type, produced_ms, headers, body, reason, error_name, error_message, fingerprint, attempts, trace_id, subject,
  claim_scope, claim_key, redrives, first_at, dead_at, changed_at)
overriding system value
select n, md5(n::text)::uuid, case when n % 50 = 0 then 'resolved' when n % 77 = 0 then 'dropped' when n % 100 = 1 then 'redriving'
  else 'dead' end, ${pipelineOf}, 'kafka', 'orders', (n % 12)::text, n::text, 'g', 'message-' || n, ${key}, 'order.placed', 0,
  ${headers}, ${body}, case when n % 1000 = 3 then 'conflict' else 'attempts' end, 'Error' || ${shape} % 7, ${error},
  '1-' || md5((${shape})::text), 5, md5(n::text), case when n % 3 = 0 then 'subject-' || n % 90000 end, ${pipelineOf},
  'message-' || n, case when n % 4 = 0 then 1 else 0 end, ${at}, ${at}, ${at} ${all}`

/** Without a log, and with the indexes made afterwards, all of which only makes the filling faster. */
async function fill(): Promise<void> {
  const from = performance.now()
  const { rows: there } = await pool.query(`select 1 from pg_tables where schemaname = $1 and tablename = 'bare'`, [
    schema,
  ])
  if (there.length > 0) return
  await migrate(pool, { schema })
  for (const table of ['dead_letter', 'idempotency']) await pool.query(`alter table ${schema}.${table} set unlogged`)
  const { rows: indexes } = await pool.query<{ name: string; make: string }>(
    `select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as make from pg_index i
where indrelid = '${schema}.dead_letter'::regclass and not indisprimary`,
  )
  for (const { name } of indexes) await pool.query(`drop index ${name}`)
  await Promise.all([pool.query(bareSql), pool.query(lettersSql)])
  note(`filled after ${seconds(from)}`)
  const settings = `set max_parallel_maintenance_workers = 0; set maintenance_work_mem = '256MB'`
  const halves = [0, 1].map((half) => indexes.filter((_, n) => n % 2 === half))
  await Promise.all(
    halves.map(async (half) => {
      const client = await pool.connect()
      for (const { make } of half) await client.query(`${settings}; ${make}`)
      client.release(true)
    }),
  )
  const tables = ['bare', 'dead_letter', 'idempotency', 'redrive_item']
  await Promise.all(tables.map((table) => pool.query(`vacuum analyze ${schema}.${table}`)))
  note(`ready after ${seconds(from)}`)
}

const letters = postgresDeadLetters(pool, { schema, questionMs: 600_000 })
const store = postgresOperatorStore(pool, { schema, letters, questionMs: 600_000 })
const ops = operations({ store, cacheMs: 0 })

async function questions(): Promise<ReadonlyMap<string, () => Promise<unknown>>> {
  const { rows } = await pool.query<{ before: string }>(
    `select round(extract(epoch from dead_at) * 1000000)::bigint::text || '.' || id as before from ${schema}.dead_letter
where id = $1`,
    [Math.round(total / 2)],
  )
  const groups = await letters.groups({}, 1000)
  const [large = '', small = ''] = [groups[0]?.group, groups.at(-1)?.group]
  const before = rows[0]?.before ?? ''
  const day = 86_400_000
  return new Map<string, () => Promise<unknown>>([
    ['newest 50', () => letters.list({})],
    ['50 from the middle', () => letters.list({}, { before })],
    ['newest 50 of a pipeline', () => letters.list({ pipeline: 'mail' })],
    ['newest 50 of a large group', () => letters.list({ group: large })],
    ['newest 50 of a small group', () => letters.list({ group: small })],
    ['newest 50 of a small group and a pipeline', () => letters.list({ group: small, pipeline: 'mail' })],
    ['newest 50 of a rare key', () => letters.list({ key: 'customer-777' })],
    [`newest 50 of a key with a twentieth of all letters`, () => letters.list({ key: 'hot' })],
    ['one message id', () => letters.list({ messageId: 'message-4711' })],
    ['one trace', () => letters.list({ traceId: '5b8d5bd2a8a2a2b0e3a1d2c3b4a59687' })],
    ['one subject', () => letters.list({ subject: 'subject-42' })],
    ['one reason', () => letters.list({ reason: 'attempts' })],
    ['a reason that no letter has', () => letters.list({ reason: 'crashed' })],
    [
      'an hour, 30 days ago',
      () => letters.list({ sinceMs: Date.now() - 30 * day, untilMs: Date.now() - 30 * day + 3_600_000 }),
    ],
    ['newest 50 that were resolved', () => letters.list({}, { states: ['resolved'] })],
    ['one letter', () => letters.letter('4711')],
    ['groups', () => letters.groups({})],
    ['groups of a pipeline', () => letters.groups({ pipeline: 'mail' })],
    ['groups of the last day', () => letters.groups({ sinceMs: Date.now() - day })],
    ['how many are dead', () => letters.count({})],
    ['how many of a large group', () => letters.count({ group: large })],
    ['how many of a key with a twentieth of all letters', () => letters.count({ key: 'hot' })],
    ['dry run of everything', () => letters.preview({})],
    ['dry run of a large group', () => letters.preview({ group: large })],
    ['dry run of a small group', () => letters.preview({ group: small })],
    ['dry run of a pipeline', () => letters.preview({ pipeline: 'mail' })],
    ['dry run of a rare key', () => letters.preview({ key: 'customer-777' })],
    ['dry run of the last day', () => letters.preview({ sinceMs: Date.now() - day })],
    ['status, the overview', () => ops.overview()],
    ['explain a message', () => ops.explain('message-4711')],
    ['stuck keys', () => store.keys()],
    ['a key in every scope', () => store.claims('message-4711')],
    ['redrives, one of a quarter of all letters', () => letters.redrives()],
    ['the letters of that redrive', () => letters.redriveItems('1')],
    ['operator log', () => letters.log()],
    ['text in the last hour', () => letters.list({ text: 'no such text', sinceMs: Date.now() - 3_600_000 })],
    ['text anywhere (not indexed)', () => letters.list({ text: 'no such text' })],
  ])
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0
const seconds = (from: number): string => `${((performance.now() - from) / 1000).toFixed(0)} s`
async function timed(act: () => Promise<unknown>): Promise<number> {
  const from = performance.now()
  await act()
  return performance.now() - from
}

/** `rows`: as of a table without an index. `key`: PostgreSQL reads the primary key instead, and none of the rows. */
type Count = 'rows' | 'key'

async function countBare(what: Count): Promise<number> {
  const client = await pool.connect()
  await client.query(`set enable_indexonlyscan = ${what === 'key' ? 'on' : 'off'}`)
  const ms = await timed(() => client.query(`select count(*) from ${schema}.bare`))
  client.release(true)
  return ms
}

/** The bare table is counted before every eighth question, and what a round says is compared with that round's median. */
async function measure(): Promise<void> {
  const asked = [...(await questions())]
  const own = asked.map((): number[] => [])
  const ratios: Record<Count, number[][]> = { rows: asked.map(() => []), key: asked.map(() => []) }
  const bares: Record<Count, number[]> = { rows: [], key: [] }
  for (let round = 0; round < rounds; round++) {
    const times: number[] = []
    const counts: Record<Count, number[]> = { rows: [], key: [] }
    for (const [n, [, ask]] of asked.entries()) {
      if (n % 8 === 0) for (const what of ['rows', 'key'] as const) counts[what].push(await countBare(what))
      times.push(await timed(ask))
    }
    times.forEach((ms, n) => own[n]?.push(ms))
    for (const what of ['rows', 'key'] as const) {
      const beside = median(counts[what])
      bares[what].push(beside)
      times.forEach((ms, n) => ratios[what][n]?.push(ms / beside))
    }
    note(`round ${round + 1} of ${rounds}: ${seconds(startedAt)}`)
  }
  await tell(
    asked.map(([name]) => name),
    own,
    ratios,
    bares,
  )
}

async function tell(
  names: readonly string[],
  own: readonly (readonly number[])[],
  ratios: Readonly<Record<Count, readonly (readonly number[])[]>>,
  bares: Readonly<Record<Count, readonly number[]>>,
): Promise<void> {
  const { rows } = await pool.query<{ version: string; bare: string; own: string; indexed: string }>(
    `select current_setting('server_version') as version, pg_relation_size('${schema}.bare') as bare,
  pg_relation_size('${schema}.dead_letter') as own, pg_total_relation_size('${schema}.dead_letter') as indexed`,
  )
  const size = (bytes: string | undefined): string => `${(Number(bytes) / Number(rows[0]?.bare)).toFixed(1)}×`
  say(
    `PostgreSQL ${rows[0]?.version.split(' ')[0] ?? ''}, ${total.toLocaleString('en')} letters, ${rounds} rounds. Counting the bare table took ${median(bares.rows).toFixed(0)} ms, by its primary key ${median(bares.key).toFixed(0)} ms. The letters take ${size(rows[0]?.own)} the room of the bare rows, and ${size(rows[0]?.indexed)} with their indexes.\n`,
  )
  say('| question | ÷ count(*) of the bare table | ÷ count(*) by its primary key |')
  say('| --- | ---: | ---: |')
  const cell = (all: readonly number[] = []): string => {
    const sorted = all.toSorted((a, b) => a - b)
    return `${median(sorted).toFixed(3)} (${(sorted[0] ?? 0).toFixed(3)}–${(sorted.at(-1) ?? 0).toFixed(3)})`
  }
  names.forEach((name, n) => {
    say(`| ${name} | ${cell(ratios.rows[n])} | ${cell(ratios.key[n])} |`)
    note(`${name}: ${median(own[n] ?? []).toFixed(1)} ms`)
  })
  for (const what of ['rows', 'key'] as const) {
    const slow = names.filter((name, n) => median(ratios[what][n] ?? []) > 1 && !name.startsWith('text anywhere'))
    const than = what === 'rows' ? 'the count of the bare table' : 'the count by its primary key'
    say(`\n${slow.length === 0 ? 'None but text anywhere' : slow.join('; ')} took longer than ${than}.`)
  }
}

const startedAt = performance.now()
try {
  await fill()
  await measure()
} finally {
  if (kept !== undefined) note(`kept: ${schema}`)
  else await pool.query(`drop schema if exists ${schema} cascade`)
  await pool.end()
}
