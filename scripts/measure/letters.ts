/**
 * What operators ask of very many dead letters, next to a plain `count(*)` of a bare table with as many rows of the same
 * size, in turns. `node scripts/measure/letters.ts [letters] [rounds]`
 */
import pg from 'pg'
import { operations } from '../../src/operations/index.ts'
import { migrate, postgresDeadLetters, postgresOperatorStore } from '../../src/stores/postgres/index.ts'

const [total = 1_000_000, rounds = 5] = process.argv.slice(2).map(Number)
const url = process.env['HOLDFAST_POSTGRES_URL']
if (url === undefined) throw new Error('letters: set HOLDFAST_POSTGRES_URL; npm run services -- up prints it')
const schema = `letters_${Date.now().toString(36)}`
const pool = new pg.Pool({ connectionString: url, max: 4 })
const say = (text: string): void => void process.stdout.write(`${text}\n`)
const keepAs = process.env['HOLDFAST_KEEP_SCHEMA']

/** 40 groups, most letters in few of them; 6 pipelines; one key with a twentieth of all letters; 0.9 KB each; 60 days. */
async function fill(): Promise<void> {
  await migrate(pool, { schema })
  await pool.query(
    `create table ${schema}.bare (id bigint primary key, message_id text, headers bytea, body bytea, error text, at timestamptz)`,
  )
  await pool.query(`create unlogged table ${schema}.made as select n, (array['billing','shipping','mail','search','stock','fraud'])[1 + n % 6] as pipeline,
  least(39, floor(-ln(1 - random()) * 6)::int) as shape,
  case when n % 20 = 0 then 'hot' when n % 11 = 0 then null else 'customer-' || (random() * 200000)::int end as key,
  now() - (${total} - n) * interval '60 days' / ${total} as at from generate_series(1, ${total}) n`)
  const headers = `convert_to('[["tenant","t' || n % 50 || '"],["traceparent","00-' || md5(n::text) || '-0102030405060708-01"]]', 'UTF8')`
  const body = `convert_to(repeat(md5(n::text), 25), 'UTF8')`
  const error = `'Order ' || n || ' not found: shape ' || chr(97 + shape)`
  await pool.query(
    `insert into ${schema}.bare select n, 'message-' || n, ${headers}, ${body}, ${error}, at from ${schema}.made order by n`,
  )
  await pool.query(`insert into ${schema}.dead_letter (fold, state, pipeline, system, destination, partition, position, origin_group,
  message_id, key, type, produced_ms, headers, body, reason, error_name, error_message, fingerprint, attempts, trace_id, subject,
  claim_scope, claim_key, first_at, dead_at, changed_at)
select md5(n::text)::uuid, case when n % 50 = 0 then 'resolved' when n % 77 = 0 then 'dropped' else 'dead' end, pipeline, 'kafka',
  'orders', (n % 12)::text, n::text, pipeline, 'message-' || n, key, 'order.placed', 0, ${headers}, ${body}, 'attempts',
  'Error' || shape % 7, ${error}, '1-' || md5(shape::text), 5, md5(n::text), case when n % 3 = 0 then 'subject-' || n % 90000 end,
  pipeline, 'message-' || n, at, at, at from ${schema}.made order by n`)
  await pool.query(`insert into ${schema}.idempotency (scope, key, state, token, attempts, retain_until)
select pipeline, 'message-' || n, case when n % 40 = 0 then 'completed' else 'failed' end, n, 1, now() + interval '7 days'
from ${schema}.made order by n`)
  await pool.query(`drop table ${schema}.made`)
  for (const table of ['bare', 'dead_letter', 'idempotency']) await pool.query(`vacuum analyze ${schema}.${table}`)
}

const letters = postgresDeadLetters(pool, { schema, questionMs: 600_000 })
const store = postgresOperatorStore(pool, { schema, letters, questionMs: 600_000 })
const ops = operations({ store, cacheMs: 0 })

async function questions(): Promise<ReadonlyMap<string, () => Promise<unknown>>> {
  const at = async (part: number): Promise<string> => {
    const { rows } = await pool.query<{ before: string }>(
      `select round(extract(epoch from dead_at) * 1000000)::bigint::text || '.' || id as before from ${schema}.dead_letter
where id = $1`,
      [Math.round(total * part)],
    )
    return rows[0]?.before ?? ''
  }
  const groups = await letters.groups({})
  const [large = '', small = ''] = [groups[0]?.group, groups.at(-1)?.group]
  const before = await at(0.5)
  const day = 86_400_000
  return new Map<string, () => Promise<unknown>>([
    ['newest 50', () => letters.list({})],
    ['50 from the middle', () => letters.list({}, { before })],
    ['newest 50 of a pipeline', () => letters.list({ pipeline: 'mail' })],
    ['newest 50 of a large group', () => letters.list({ group: large })],
    ['newest 50 of a small group', () => letters.list({ group: small })],
    ['newest 50 of a small group and a pipeline', () => letters.list({ group: small, pipeline: 'mail' })],
    ['newest 50 of a rare key', () => letters.list({ key: 'customer-777' })],
    [`newest 50 of a key with ${total / 20} letters`, () => letters.list({ key: 'hot' })],
    ['one message id', () => letters.list({ messageId: 'message-4711' })],
    ['one trace', () => letters.list({ traceId: '5b8d5bd2a8a2a2b0e3a1d2c3b4a59687' })],
    ['one subject', () => letters.list({ subject: 'subject-42' })],
    ['one reason', () => letters.list({ reason: 'attempts' })],
    ['a reason that no letter has', () => letters.list({ reason: 'conflict' })],
    [
      'an hour, 30 days ago',
      () => letters.list({ sinceMs: Date.now() - 30 * day, untilMs: Date.now() - 30 * day + 3_600_000 }),
    ],
    ['newest 50 that were resolved', () => letters.list({}, { states: ['resolved'] })],
    ['one letter', () => letters.letter('4711')],
    ['groups', () => letters.groups({})],
    ['groups of a pipeline', () => letters.groups({ pipeline: 'mail' })],
    ['how many are dead', () => letters.count({})],
    ['how many of a large group', () => letters.count({ group: large })],
    ['dry run of everything', () => letters.preview({})],
    ['dry run of a large group', () => letters.preview({ group: large })],
    ['dry run of a small group', () => letters.preview({ group: small })],
    ['dry run of a key', () => letters.preview({ key: 'customer-777' })],
    ['status', () => ops.overview()],
    ['explain a message', () => ops.explain('message-4711')],
    ['stuck keys', () => store.keys()],
    ['a key in every scope', () => store.claims('message-4711')],
    ['redrives', () => letters.redrives()],
    ['operator log', () => letters.log()],
    ['text in the last hour', () => letters.list({ text: 'no such text', sinceMs: Date.now() - 3_600_000 })],
    ['text anywhere', () => letters.list({ text: 'no such text' })],
  ])
}

const median = (all: readonly number[]): number => all.toSorted((a, b) => a - b)[all.length >> 1] ?? 0
async function timed(act: () => Promise<unknown>): Promise<number> {
  const from = performance.now()
  await act()
  return performance.now() - from
}

await fill()
const asked = await questions()
const times = new Map<string, { own: number[]; bare: number[] }>(
  [...asked.keys()].map((name) => [name, { own: [], bare: [] }]),
)
const bare = () => pool.query(`select count(*) from ${schema}.bare`)
await bare()
for (let round = 0; round < rounds; round++)
  for (const [name, ask] of asked) {
    times.get(name)?.bare.push(await timed(bare))
    times.get(name)?.own.push(await timed(ask))
  }
const allBare = [...times.values()].flatMap((each) => each.bare)
say(`${total} letters; count(*) of the bare table: ${median(allBare).toFixed(1)} ms (median of ${allBare.length})`)
for (const [name, { own, bare: beside }] of times)
  say(`${name.padEnd(46)} ${(median(own) / median(beside)).toFixed(3)}×  ${median(own).toFixed(1)} ms`)
if (keepAs === undefined) await pool.query(`drop schema ${schema} cascade`)
else say(`kept: ${schema}`)
await pool.end()
