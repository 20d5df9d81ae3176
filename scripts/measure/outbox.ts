// The outbox beside the plainest things that could be there instead, in turns, as ratios.
//   node scripts/measure/outbox.ts [drain] [writers] [latency] [kafka] [backlog=1000000]
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import kafkajs from 'kafkajs'
import pg from 'pg'
import { outboxRelay } from '../../src/outbox/relay.ts'
import type { Publisher } from '../../src/publisher.ts'
import { migrate } from '../../src/stores/postgres/migrate.ts'
import { postgresOutboxStore } from '../../src/stores/postgres/outbox-store.ts'
import { postgresOutbox } from '../../src/stores/postgres/outbox.ts'
import { kafkajsPublisher } from '../../src/transports/kafkajs/publisher.ts'
import { toolsDir } from '../../test/outbox/standby.ts'
import { privatePostgres } from '../chaos/support/private-servers.ts'
import { up } from '../services/manager.ts'
import { serviceNamed } from '../services/table.ts'

const asked = process.argv.slice(2)
const wants = (name: string): boolean => asked.length === 0 || asked.some((arg) => arg.split('=')[0] === name)

const schema = 'holdfast'
const server = await privatePostgres({ settings: ['shared_buffers=512MB', 'max_wal_size=8GB'] })
const pool = new pg.Pool({ connectionString: server.url, max: 20 })
pool.on('error', () => {})
const store = postgresOutboxStore(pool, { schema })
const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0
const show = (what: string, value: string): void => console.log(`  ${what.padEnd(58)} ${value}`)

/** Runs a relay until so many messages were published; resolves to the seconds that took. */
async function drained(messages: number, wire?: Publisher): Promise<number> {
  let left = messages
  const stop = new AbortController()
  const publisher: Publisher = {
    async publish(rows, options) {
      await wire?.publish(rows, options)
      left -= rows.length
      if (left <= 0) stop.abort()
    },
  }
  const large = wire === undefined ? { batchRows: 1000, batchBytes: 4_000_000 } : {}
  const startedMs = performance.now()
  await outboxRelay({ store, publisher, ...large }).run(stop.signal)
  return (performance.now() - startedMs) / 1000
}

const fill = (rows: number, bytes: number): Promise<unknown> =>
  pool.query(
    `insert into ${schema}.outbox (topic, key, type, message_id, payload)
     select 'holdfast-measure', 'k' || n % 1000, 't', n::text, decode(repeat('00', $2::int), 'hex') from generate_series(1, $1::int) n`,
    [rows, bytes],
  )

async function empty(): Promise<void> {
  await pool.query(`truncate ${schema}.outbox`)
  await pool.query('checkpoint')
}

async function drain(): Promise<void> {
  if (toolsDir === undefined) return show('drain', 'skipped: pgbench is not here')
  const rows = 100_000
  const dir = await mkdtemp(join(tmpdir(), 'holdfast-measure-'))
  const file = join(dir, 'drain.sql')
  await writeFile(
    file,
    'delete from queue where id in (select id from queue order by id limit 500) returning id, key, payload;\n',
  )
  await pool.query('create table queue (id bigserial primary key, key text, message_id text, payload bytea)')
  const pgbench = async (): Promise<number> => {
    const args = ['-n', '-c', '1', '-t', String(rows / 500), '-f', file, server.url]
    const startedMs = performance.now()
    await promisify(execFile)(join(toolsDir ?? '', 'pgbench'), args)
    return (performance.now() - startedMs) / 1000
  }
  const ours: number[] = []
  const theirs: number[] = []
  for (let round = 0; round < 5; round++) {
    await pool.query(
      `insert into queue (key, message_id, payload)
       select 'k' || n % 1000, n::text, decode(repeat('00', 1000), 'hex') from generate_series(1, $1::int) n`,
      [rows],
    )
    await pool.query('vacuum analyze queue')
    theirs.push(rows / (await pgbench()))
    await empty()
    await fill(rows, 1000)
    ours.push(rows / (await drained(rows)))
  }
  await rm(dir, { recursive: true })
  show('drain of 100,000 x 1 KB to a null publisher', `${Math.round(median(ours))} rows/s`)
  show('SELECT + DELETE by pgbench, 500 at a time', `${Math.round(median(theirs))} rows/s`)
  show('ratio', (median(ours) / median(theirs)).toFixed(2))
}

async function writers(): Promise<void> {
  await pool.query(`create table raw (slot smallint, shard smallint, txid xid8 default pg_current_xact_id(), id bigserial,
    topic text, key text, type text, message_id text, headers jsonb, payload bytea, created_at timestamptz default clock_timestamp());
    create index on raw (shard, txid); create index on raw (shard, id); create table work (id bigserial primary key, n int)`)
  const outbox = postgresOutbox({ schema })
  const body = Buffer.alloc(500)
  let n = 0
  const raw = (client: pg.PoolClient): Promise<unknown> =>
    client.query(
      'insert into raw (slot, shard, topic, key, type, message_id, headers, payload) values (0, $1, $2, $3, $4, $5, $6, $7)',
      [n % 4, 'orders', `k${n % 1000}`, 't', String(n++), null, body],
    )
  const ours = (client: pg.PoolClient): Promise<unknown> =>
    outbox.add(client, { id: String(n), destination: 'orders', key: `k${n++ % 1000}`, type: 't', body })

  async function rate(insert: (client: pg.PoolClient) => Promise<unknown>): Promise<number> {
    let done = 0
    const endMs = Date.now() + 3000
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        const client = await pool.connect()
        while (Date.now() < endMs) {
          await client.query('begin')
          await client.query('insert into work (n) values (1)')
          await insert(client)
          await client.query('commit')
          done++
        }
        client.release()
      }),
    )
    return done / 3
  }
  const rates: Record<'raw' | 'ours' | 'beside', number[]> = { raw: [], ours: [], beside: [] }
  for (let round = 0; round < 5; round++) {
    rates.raw.push(await rate(raw))
    rates.ours.push(await rate(ours))
    const stop = new AbortController()
    const relay = outboxRelay({ store, publisher: { publish: () => Promise.resolve() } }).run(stop.signal)
    await sleep(300)
    rates.beside.push(await rate(ours))
    stop.abort()
    await relay
  }
  show('transactions with a raw INSERT, 8 writers', `${Math.round(median(rates.raw))}/s`)
  show(
    'the same with outbox.add',
    `${Math.round(median(rates.ours))}/s, ratio ${(median(rates.ours) / median(rates.raw)).toFixed(2)}`,
  )
  show(
    'the same beside a running relay',
    `${Math.round(median(rates.beside))}/s, ratio ${(median(rates.beside) / median(rates.ours)).toFixed(2)}`,
  )
  const { pending } = await store.status()
  show('backlog when the relay stopped', String(pending))
}

async function latency(): Promise<void> {
  const outbox = postgresOutbox({ schema })
  const arrivals = new Map<string, (atMs: number) => void>()
  const publisher: Publisher = {
    publish: (rows) => {
      for (const { id } of rows) arrivals.get(id)?.(performance.now())
      return Promise.resolve()
    },
  }
  const stop = new AbortController()
  const relay = outboxRelay({ store, publisher })
  const done = relay.run(stop.signal)
  await sleep(1000)
  const client = await pool.connect()
  await client.query('create table if not exists bare (n int)')
  const measured: Record<'commit' | 'poll' | 'poke', number[]> = { commit: [], poll: [], poke: [] }
  for (let n = 0; n < 400; n++) {
    const way = (['commit', 'poll', 'poke'] as const)[n % 3] ?? 'commit'
    const id = `latency ${n}`
    const arrived = new Promise<number>((resolve) => arrivals.set(id, resolve))
    await client.query('begin')
    if (way === 'commit') await client.query('insert into bare values (1)')
    else await outbox.add(client, { id, destination: 'orders', body: null })
    const beforeMs = performance.now()
    await client.query('commit')
    const committedMs = performance.now()
    if (way === 'poke') relay.poke()
    if (way === 'commit') measured.commit.push(committedMs - beforeMs)
    else if (way === 'poll') measured.poll.push((await arrived) - committedMs)
    else measured.poke.push((await arrived) - beforeMs)
    await sleep(30 + Math.random() * 40)
  }
  client.release()
  stop.abort()
  await done
  show('commit to publish by polling alone, 20 transactions a second, p50', `${median(measured.poll).toFixed(1)} ms`)
  show('a bare COMMIT, p50', `${median(measured.commit).toFixed(2)} ms`)
  show(
    'COMMIT and publish with poke(), p50',
    `${median(measured.poke).toFixed(2)} ms, ratio ${(median(measured.poke) / median(measured.commit)).toFixed(2)}`,
  )
}

async function toKafka(): Promise<void> {
  const { url } = await up(serviceNamed('kafka'), (line) => console.error(line))
  const client = new kafkajs.Kafka({ brokers: url.split(','), logLevel: kafkajs.logLevel.NOTHING })
  const admin = client.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic: 'holdfast-measure', numPartitions: 6 }] })
  const producer = client.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  const rows = 50_000
  const value = Buffer.alloc(1000)
  const ours: number[] = []
  const raw: number[] = []
  for (let round = 0; round < 3; round++) {
    const startedMs = performance.now()
    for (let from = 0; from < rows; from += 500)
      await producer.send({
        topic: 'holdfast-measure',
        messages: Array.from({ length: 500 }, (_, n) => ({
          key: `k${(from + n) % 1000}`,
          value,
          headers: { 'message-id': String(from + n), 'message-type': 't', 'message-time': '0', 'outbox-id': 'a/1/1' },
        })),
      })
    raw.push(rows / ((performance.now() - startedMs) / 1000))
    await empty()
    await fill(rows, 1000)
    ours.push(rows / (await drained(rows, kafkajsPublisher(producer))))
  }
  await producer.disconnect()
  await admin.deleteTopics({ topics: ['holdfast-measure'] })
  await admin.disconnect()
  show('a raw kafkajs producer, 500 at a time', `${Math.round(median(raw))} messages/s`)
  show(
    'the outbox to Kafka',
    `${Math.round(median(ours))} messages/s, ratio ${(median(ours) / median(raw)).toFixed(2)}`,
  )
}

async function backlog(rows: number): Promise<void> {
  await empty()
  for (let left = rows; left > 0; left -= 500_000) await fill(Math.min(left, 500_000), 100)
  globalThis.gc?.()
  let most = 0
  const watch = setInterval(() => (most = Math.max(most, process.memoryUsage().rss)), 100)
  const seconds = await drained(rows)
  clearInterval(watch)
  show(
    `memory at most before a backlog of ${rows}`,
    `${Math.round(most / 1e6)} MB, ${Math.round(rows / seconds)} rows/s`,
  )
}

try {
  await migrate(pool, { schema })
  if (wants('drain')) await drain()
  if (wants('writers')) await writers()
  if (wants('latency')) await latency()
  if (wants('kafka')) await toKafka()
  for (const arg of asked.filter((each) => each.startsWith('backlog')))
    await backlog(Number(arg.split('=')[1] ?? 1_000_000))
} finally {
  await pool.end()
  await server.dispose()
}
