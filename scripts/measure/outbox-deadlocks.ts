// What `strictOrder` does to transactions that add messages of two keys, in two calls or in one: commits and deadlocks of 16
// writers in some seconds, taking turns. The figures of docs/outbox/order.md.
//   node scripts/measure/outbox-deadlocks.ts [seconds] [rounds]
import { Buffer } from 'node:buffer'
import pg from 'pg'
import type { OutboxMessage } from '../../src/outbox/outbox.ts'
import { migrate, postgresOutbox } from '../../src/stores/postgres/index.ts'
import { privatePostgres } from '../../test/support/private-servers.ts'

const [seconds = '3', rounds = '3'] = process.argv.slice(2)
const writers = 16
const keys = 12

interface Way {
  readonly name: string
  readonly strictOrder: boolean
  readonly calls: 1 | 2
}
const ways: readonly Way[] = [
  { name: 'two calls', strictOrder: false, calls: 2 },
  { name: 'two calls, `strictOrder`', strictOrder: true, calls: 2 },
  { name: 'one call', strictOrder: false, calls: 1 },
  { name: 'one call, `strictOrder`', strictOrder: true, calls: 1 },
]
interface Counts {
  readonly committed: number
  readonly deadlocks: number
}

const server = await privatePostgres({})
const pool = new pg.Pool({ connectionString: server.url, max: writers })
pool.on('error', () => {})
const counts = new Map<Way, Counts[]>(ways.map((way) => [way, []]))
try {
  await migrate(pool)
  for (let round = 0; round < Number(rounds); round++)
    for (const way of ways) {
      counts.get(way)?.push(await measured(way))
      await pool.query('truncate holdfast.outbox')
    }
} finally {
  await pool.end()
  await server.dispose()
}
console.log(`| ${writers} writers, two of ${keys} keys a transaction | committed in ${seconds} s | deadlocks |`)
console.log('| --- | ---: | ---: |')
for (const [{ name }, all] of counts)
  console.log(`| ${name} | ${shown(all.map((each) => each.committed))} | ${shown(all.map((each) => each.deadlocks))} |`)

async function measured({ strictOrder, calls }: Way): Promise<Counts> {
  const outbox = postgresOutbox({ strictOrder })
  const sums = { committed: 0, deadlocks: 0 }
  const endMs = performance.now() + Number(seconds) * 1000
  async function write(): Promise<void> {
    const client = await pool.connect()
    while (performance.now() < endMs) {
      const [one, other] = twoKeys()
      try {
        await client.query('begin')
        if (calls === 1) await outbox.add(client, [message(one), message(other)])
        else for (const key of [one, other]) await outbox.add(client, message(key))
        await client.query('commit')
        // One that waited for a deadlock to end is of the time after.
        if (performance.now() < endMs) sums.committed++
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === '40P01')) throw error
        sums.deadlocks++
        await client.query('rollback')
      }
    }
    client.release()
  }
  await Promise.all(Array.from({ length: writers }, write))
  return sums
}

function twoKeys(): readonly [number, number] {
  const one = Math.floor(Math.random() * keys)
  return [one, (one + 1 + Math.floor(Math.random() * (keys - 1))) % keys]
}

function message(key: number): OutboxMessage {
  return { destination: 'orders', key: `k${key}`, body: Buffer.from('{}') }
}

/** The median, and all of them from the least to the most. */
function shown(values: readonly number[]): string {
  const sorted = values.toSorted((a, b) => a - b)
  const said = (value = 0): string => value.toLocaleString('en')
  return `${said(sorted[Math.floor(sorted.length / 2)])} (${said(sorted[0])}–${said(sorted.at(-1))})`
}
