import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeFormatted } from '../scripts/write-formatted.ts'

/** One line of the table at the top of docs/performance/README.md: rows of a page, by their names. */
interface Path {
  readonly path: string
  readonly area: string
  readonly name: string
  /** What people would use instead. */
  readonly peer?: string
  /** What is physically possible, or the raw client alone. */
  readonly limit?: string
  /** Where the limit is measured for another row than the peer. */
  readonly limitOf?: string
}

const claim = 'claim + effect + completion'
const autocommits = 'three autocommits'
const pgbench = 'pgbench, the same statements'
const drain = 'drain of 100,000 × 1 KB to a publisher that does nothing'
const slow = 'handler of 5 ms, 1,000 keys, 64 in flight'
const idle = 'handler does nothing'

const postgres = (path: string, name: string, more: Partial<Path> = {}): Path => ({
  ...{ path: `PostgreSQL: ${path}`, area: 'postgres', name, peer: autocommits, limit: pgbench },
  ...more,
})
const redis = (atOnce: number): Path => ({
  ...{ path: `Redis: claim and complete, ${atOnce} in flight`, area: 'redis' },
  ...{ name: `claim + complete, ${atOnce} in flight`, peer: '@node-idempotency/core' },
  limit: `redis-benchmark, ${atOnce / 4} keys a call, pipelined`,
})
const broker = (title: string, area: string, raw: string, inTurn: string, name: string = slow): readonly Path[] => [
  { path: `${title}: handler does nothing`, area, name: area === 'kafka' ? `${idle}, lanes only` : idle, limit: raw },
  { path: `${title}: handler of 5 ms`, area, name, peer: inTurn },
]

const paths: readonly Path[] = [
  postgres('claim, effect, completion, 16 in flight', `${claim}, 16 in flight`),
  postgres('claimed inside, 16 in flight', `${claim}, 16 in flight, claim inside`),
  postgres('claimed inside, prepared, 16 in flight', `${claim}, 16 in flight, claim inside, prepared`, { limitOf: '' }),
  ...[16, 64].flatMap((atOnce) => {
    const name = `${claim}, batches of 16, ${atOnce} in flight`
    return [
      postgres(`batches of 16, ${atOnce} in flight`, name),
      postgres(`batches of 16, ${atOnce} in flight, claimed inside`, `${name}, claim inside`, { limitOf: '' }),
      postgres(`batches of 16, ${atOnce} in flight, claimed inside, prepared`, `${name}, claim inside, prepared`),
    ]
  }),
  ...[16, 64, 256].map(redis),
  { path: 'Outbox: add', area: 'outbox', name: '8 writers, outbox.add', limit: 'the same with a raw INSERT' },
  {
    ...{ path: 'Outbox: add with strictOrder', area: 'outbox', name: '8 writers, outbox.add with strictOrder' },
    limit: 'the same with a raw INSERT',
  },
  {
    ...{ path: 'Outbox: drain', area: 'outbox', name: 'drain of 1 KB messages', limitOf: drain },
    peer: 'graphile-worker, local queue of 500, 24 at once',
    limit: 'SELECT … FOR UPDATE SKIP LOCKED + DELETE by pgbench',
  },
  {
    ...{ path: 'Outbox: to Kafka', area: 'outbox', name: '30,000 × 1 KB to Kafka' },
    limit: 'a raw kafkajs producer in a loop, 500 at a time',
  },
  ...broker(
    'Kafka',
    'kafka',
    'kafkajs eachBatch',
    'kafkajs eachMessage, partitionsConsumedConcurrently 1',
    'handler of 5 ms, 64 in flight',
  ),
  ...broker('RabbitMQ', 'rabbitmq', 'amqplib, prefetch 256', 'amqplib, prefetch 1'),
  ...broker('NATS JetStream', 'nats', 'consume() and ack()', 'consume() and ack(), one at a time'),
  ...broker('AMQP 1.0', 'amqp', 'rhea, which accepts on arrival', 'rhea, one at a time'),
  ...broker(
    'Pulsar',
    'pulsar',
    'a bare loop over our protocol client, acks without receipts',
    'the same loop, one at a time',
  ),
  {
    ...{ path: 'Pipeline: seven stages', area: 'pipeline', name: 'seven-feature stack', peer: 'the same, assembled' },
    limit: 'one hand-fused function',
  },
  { path: 'Metrics, above a bare handler', area: 'observability', name: 'metrics', limit: 'a bare handler' },
]

interface Cells {
  readonly ratio: string
  readonly target: string
}
type Pages = ReadonlyMap<string, Cells>

const begin = '<!-- Written by `npm run bench -- --write`, of the pages below. -->'
const end = '<!-- The end of what is written. -->'

/** The table of all paths, from the tables of the pages. */
export async function summary(folder: string): Promise<string> {
  const areas = [...new Set(paths.map(({ area }) => area))]
  const pages = new Map<string, Cells>()
  for (const area of areas) for (const [row, cells] of await rowsOf(folder, area)) pages.set(row, cells)
  return [
    '| path | peer | ours beside the peer | limit | ours beside the limit |',
    '| --- | --- | ---: | --- | ---: |',
    ...paths.map((path) => line(path, pages)),
  ].join('\n')
}

/** Puts the table into the README, between its marks. */
export async function writeSummary(folder: string): Promise<void> {
  const file = join(folder, 'README.md')
  const text = await readFile(file, 'utf8')
  const [from, to] = [text.indexOf(begin), text.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`${file} has no place for the table: ${begin} … ${end}`)
  const table = `${begin}\n\n${await summary(folder)}\n\n`
  await writeFormatted(file, text.slice(0, from) + table + text.slice(to))
}

function line({ path, area, name, peer, limit, limitOf = name }: Path, pages: Pages): string {
  const cell = (row: string, beside: string | undefined): string => {
    const found = beside === undefined || row === '' ? undefined : pages.get(`${area} ${row} ${beside}`)
    return found === undefined ? '–' : ratio(found)
  }
  const shownLimit = limitOf === '' ? undefined : limit
  return `| [${path}](${area}.md) | ${peer ?? '–'} | ${cell(name, peer)} | ${shownLimit ?? '–'} | ${cell(limitOf, shownLimit)} |`
}

/** What takes longer than the other side is a cost, and what has a limit of its own is a part of it. */
function ratio({ ratio: times, target }: Cells): string {
  if (!target.startsWith('≤')) return times
  return target.endsWith('×') ? `${times} the time` : `${times} of ${target.slice(2)}`
}

async function rowsOf(folder: string, area: string): Promise<readonly (readonly [string, Cells])[]> {
  // A page that nobody has written yet.
  const page = await readFile(join(folder, `${area}.md`), 'utf8').catch(() => '')
  return page.split('\n').flatMap((text) => {
    const [, name, beside, times, , target] = text.split('|').map((each) => each.trim())
    if (name === undefined || beside === undefined || times?.endsWith('×') !== true || target === undefined) return []
    return [[`${area} ${name} ${beside}`, { ratio: times, target }] as const]
  })
}

if (import.meta.main) await writeSummary(join(import.meta.dirname, '../docs/performance'))
