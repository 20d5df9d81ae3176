// A transaction that stays open for minutes, as a backup or a forgotten session does: what it does to a poll of the
// outbox, and to a queue that deletes what it has published. Both get the same rows at the same time.
//   node scripts/measure/outbox-pinned.ts [minutes] [rows per second] [chart.svg]
import { writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { changeOutboxShards } from '../../src/stores/postgres/outbox/operations.ts'
import { migrate } from '../../src/stores/postgres/migrate.ts'
import { postgresOutboxStore } from '../../src/stores/postgres/outbox/store.ts'
import { privatePostgres } from '../../test/support/private-servers.ts'

const [minutes = '10', rate = '2000', chart] = process.argv.slice(2)
const untilMs = Date.now() + Number(minutes) * 60_000
const server = await privatePostgres({ settings: ['fsync=off'] })
const pool = new pg.Pool({ connectionString: server.url, max: 6 })
pool.on('error', () => {})
const schema = 'holdfast'

interface Minute {
  readonly outbox: number[]
  readonly deleting: number[]
}
const measured: Minute[] = []

try {
  await migrate(pool, { schema })
  await changeOutboxShards(pool, { schema, shards: 1 })
  await pool.query('create table queue (id bigserial primary key, payload bytea)')
  const store = postgresOutboxStore(pool, { schema })
  const lease = await store.claim('measure', 3_600_000, [])
  if (lease === null) throw new Error('the shard is held')

  const pinned = new pg.Client({ connectionString: server.url })
  await pinned.connect()
  await pinned.query('begin isolation level repeatable read')
  await pinned.query('select pg_current_xact_id()')

  const perRound = Math.round(Number(rate) / 20)
  const writing = (async () => {
    for (let dueMs = Date.now(); Date.now() < untilMs; dueMs += 50) {
      await pool.query(
        `insert into ${schema}.outbox (topic, key, type, message_id, payload)
         select 'orders', 'k' || n % 50, 't', gen_random_uuid()::text, decode(repeat('00', 200), 'hex') from generate_series(1, $1::int) n`,
        [perRound],
      )
      await pool.query(
        `insert into queue (payload) select decode(repeat('00', 200), 'hex') from generate_series(1, $1::int) n`,
        [perRound],
      )
      await sleep(Math.max(0, dueMs + 50 - Date.now()))
    }
  })()
  const rotating = (async () => {
    while (Date.now() < untilMs) {
      await sleep(5000)
      await store.rotate()
    }
  })()

  const startedMs = Date.now()
  /** Each on its own: a slow poll of the one must not leave the other more to read. */
  async function polling(poll: () => Promise<unknown>, timesOf: (minute: Minute) => number[]): Promise<void> {
    while (Date.now() < untilMs) {
      const minute = Math.floor((Date.now() - startedMs) / 60_000)
      const times = timesOf((measured[minute] ??= { outbox: [], deleting: [] }))
      const beganMs = performance.now()
      await poll()
      times.push(performance.now() - beganMs)
      await sleep(20)
    }
  }
  async function pollOutbox(): Promise<void> {
    const rows = await lease?.read(1000, 10_000_000)
    if (rows === 'lost') throw new Error('the lease is lost')
    if (rows !== undefined && rows.length > 0) await lease?.settle([])
  }
  const deletion =
    'delete from queue where id in (select id from queue order by id limit 1000 for update skip locked) returning id, payload'
  await Promise.all([
    polling(pollOutbox, ({ outbox }) => outbox),
    polling(
      () => pool.query(deletion),
      ({ deleting }) => deleting,
    ),
  ])
  await Promise.all([writing, rotating])
  await pinned.query('commit')
  await pinned.end()
} finally {
  await pool.end()
  await server.dispose()
}

const percentile = (values: readonly number[], part: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * part))] ?? 0

const table = measured.map(({ outbox, deleting }, minute) => ({
  minute: minute + 1,
  'outbox polls': outbox.length,
  'deleting polls': deleting.length,
  'outbox p50': percentile(outbox, 0.5).toFixed(2),
  'outbox p99': percentile(outbox, 0.99).toFixed(2),
  'deleting p50': percentile(deleting, 0.5).toFixed(2),
  'deleting p99': percentile(deleting, 0.99).toFixed(2),
}))
console.table(table)
if (chart !== undefined) await writeFile(chart, drawn())

/** Median and 99th percentile of each minute, on a logarithmic scale. */
function drawn(): string {
  const lines = [
    { name: 'outbox, p50', colour: '#1f77b4', dash: '', of: (each: Minute) => percentile(each.outbox, 0.5) },
    { name: 'outbox, p99', colour: '#1f77b4', dash: '4 3', of: (each: Minute) => percentile(each.outbox, 0.99) },
    {
      name: 'delete as you go, p50',
      colour: '#d62728',
      dash: '',
      of: (each: Minute) => percentile(each.deleting, 0.5),
    },
    {
      name: 'delete as you go, p99',
      colour: '#d62728',
      dash: '4 3',
      of: (each: Minute) => percentile(each.deleting, 0.99),
    },
  ]
  const x = (minute: number): number => 60 + (minute * 560) / Math.max(1, measured.length - 1)
  const y = (ms: number): number => 300 - ((Math.log10(Math.max(ms, 0.1)) + 1) * 280) / 5
  const grid = [0.1, 1, 10, 100, 1000, 10_000].map(
    (ms) =>
      `<line x1="60" x2="620" y1="${y(ms)}" y2="${y(ms)}" stroke="#ddd"/><text x="52" y="${y(ms) + 4}" text-anchor="end">${ms} ms</text>`,
  )
  const drawnLines = lines.map(({ name, colour, dash, of }, at) => {
    const points = measured.map((each, minute) => `${x(minute).toFixed(1)},${y(of(each)).toFixed(1)}`).join(' ')
    const legend = `<line x1="70" x2="100" y1="${26 + at * 18}" y2="${26 + at * 18}" stroke="${colour}" stroke-width="2" stroke-dasharray="${dash}"/><text x="106" y="${30 + at * 18}">${name}</text>`
    return `<polyline points="${points}" fill="none" stroke="${colour}" stroke-width="2" stroke-dasharray="${dash}"/>${legend}`
  })
  const ticks = measured.map((_, minute) => `<text x="${x(minute)}" y="322" text-anchor="middle">${minute + 1}</text>`)
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 660 350" font-family="sans-serif" font-size="12">
<rect width="660" height="350" fill="#fff"/>
${[...grid, ...ticks, ...drawnLines].join('\n')}
<text x="340" y="342" text-anchor="middle">minutes since the snapshot was pinned, ${rate} rows a second</text>
</svg>
`
}
