import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { outboxDatabase, type OutboxDatabase } from '../../outbox/support.ts'
import { spawnChild, type Child } from '../../support/child.ts'
import { faultProxy, type FaultProxy } from '../../support/fault-proxy.ts'
import { describeWith, postgresUrl, pulsarUrl, uniqueName } from '../../support/services.ts'
import { describeFull, isFull } from '../../support/skipped.ts'
import { until } from '../rabbitmq/support.ts'
import { arrivedAt } from './support.ts'

const keys = 20
const deaths = 4

if (isFull)
  describeWith(['pulsar', 'postgres'], 'the outbox relay to Pulsar', () => {
    it('P-2: loses nothing and stores nothing twice when relays are killed before their receipts, with sequences', async () => {
      const { arrived, written } = await killedRelays('sequences')
      expect(new Set(arrived).size).toBe(written)
      expect(arrived).toHaveLength(written)
      inOrder(arrived)
    }, 180_000)

    it('loses nothing without them, and stores what had no receipt again', async () => {
      const { arrived, written } = await killedRelays('plain')
      expect(new Set(arrived).size).toBe(written)
      expect(arrived.length).toBeGreaterThan(written)
    }, 180_000)
  })

/** Relays that die one after the other, each while the broker stores what it sent and the receipts are lost. */
async function killedRelays(way: 'sequences' | 'plain') {
  const db = await outboxDatabase(postgresUrl())
  const proxy = await faultProxy(pulsarUrl())
  const topic = uniqueName('topic')
  const writing = new AbortController()
  const writer = write(db, topic, writing.signal)
  let last: Child | undefined
  try {
    for (let death = 0; death < deaths; death++) await dying(way, db, proxy)
    writing.abort()
    const written = await writer
    last = relay(way, db, proxy)
    await until('all have left', async () => (await arrivedIds(topic)).size === written, 90_000)
    last.kill('SIGTERM')
    await last.exited
    return { written, arrived: (await arrivedAt(topic)).map(({ id }) => id) }
  } finally {
    writing.abort()
    await last?.dispose()
    await writer
    await proxy.dispose()
    await db.dispose()
  }
}

const relay = (way: string, { url, schema }: OutboxDatabase, { port }: FaultProxy) =>
  spawnChild('test/transports/pulsar/fixtures/relay.ts', { args: [String(port), url, schema, way] })

async function dying(way: string, db: OutboxDatabase, proxy: FaultProxy): Promise<void> {
  const child = relay(way, db, proxy)
  await child.line('runs')
  // It takes the shards of the one before it, and works.
  await sleep(1_500)
  proxy.dropReplies()
  await sleep(200)
  await child.dispose()
  proxy.cut()
  proxy.restore()
}

/** Transactions of one key's next message, some of which commit late: their ids are below those of others that are published. */
async function write({ connect }: OutboxDatabase, topic: string, signal: AbortSignal): Promise<number> {
  const [quick, slow] = [await connect(), await connect()]
  const next = Array.from({ length: keys }, () => 0)
  let written = 0
  const insert = async (client: typeof quick, key: number): Promise<void> => {
    const number = (next[key] = (next[key] ?? 0) + 1)
    written++
    await client.query(`insert into outbox (topic, key, type, message_id, payload) values ($1, $2, 't', $3, '\\x78')`, [
      ...[topic, `k${key}`, `${key}:${number}`],
    ])
  }
  while (!signal.aborted) {
    await slow.query('begin')
    await insert(slow, 0)
    for (let key = 1; key < keys; key++) await insert(quick, key)
    await sleep(20)
    await slow.query('commit')
  }
  return written
}

async function arrivedIds(topic: string): Promise<ReadonlySet<string>> {
  return new Set((await arrivedAt(topic)).map(({ id }) => id))
}

function inOrder(ids: readonly string[]): void {
  const last = new Map<string, number>()
  for (const id of ids) {
    const [key = '', number = ''] = id.split(':')
    expect(Number(number), `${id} after ${last.get(key)}`).toBe((last.get(key) ?? 0) + 1)
    last.set(key, Number(number))
  }
}

// A file needs a suite, also where its server is not there.
if (!isFull) describeFull('the outbox relay to Pulsar', () => it('needs the full run', () => expect(isFull).toBe(true)))
