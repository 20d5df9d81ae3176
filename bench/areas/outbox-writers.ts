import { setTimeout as sleep } from 'node:timers/promises'
import { outboxRelay } from 'holdfast/outbox'
import { postgresOutbox, postgresOutboxNotifier, viaPrepared } from 'holdfast/postgres'
import type pg from 'pg'
import type { Row } from '../measure.ts'
import { perSecond, type OutboxServer } from './outbox-server.ts'
import { duel, type Side } from './outbox-rounds.ts'

const writers = 8
const sliceMs = 1200
const body = Buffer.alloc(500)

/** Transactions of a service: a row of its own, then a message; eight connections at once. */
export async function* writerRows(server: OutboxServer, rounds: number): AsyncIterable<Row> {
  const { pool, store } = server
  // The columns and indexes of the outbox, without its partitions and without what it works out itself.
  await pool.query(`create table raw (slot smallint, shard smallint, txid xid8 default pg_current_xact_id(),
    id bigserial, topic text, key text, type text, message_id text, headers jsonb, payload bytea,
    created_at timestamptz default clock_timestamp());
    create index on raw (shard, txid); create index on raw (shard, id);
    create table work (id bigserial primary key, n int)`)
  let n = 0
  const message = () => ({ id: `m${n}`, destination: 'orders', key: `k${n++ % 1000}`, type: 't', body })
  const outbox = postgresOutbox()
  const prepared = postgresOutbox({ via: viaPrepared })
  const add: Insert = (client) => outbox.add(client, message())
  const text = `insert into raw (slot, shard, topic, key, type, message_id, headers, payload)
    values (0, $1, $2, $3, $4, $5, $6, $7)`
  const values = (): unknown[] => [n % 4, 'orders', `k${n % 1000}`, 't', `m${n++}`, null, body]
  const insert: Insert = (client) => client.query(text, values())

  async function transactions(write: Insert, committed = (): void => {}): Promise<number> {
    await pool.query('truncate raw, work, holdfast.outbox')
    await pool.query('checkpoint')
    let done = 0
    const startedMs = performance.now()
    const one = async (): Promise<void> => {
      const client = await pool.connect()
      while (performance.now() < startedMs + sliceMs) {
        await client.query('begin')
        await client.query('insert into work (n) values (1)')
        await write(client)
        await client.query('commit')
        committed()
        done++
      }
      client.release()
    }
    await Promise.all(Array.from({ length: writers }, one))
    return perSecond(done, startedMs)
  }

  const alone: Side = { name: 'outbox.add', measure: () => transactions(add) }
  const raw: Side = { name: 'the same with a raw INSERT', measure: () => transactions(insert) }
  yield await duel({ name: '8 writers, outbox.add', ours: alone, beside: raw, target: { speed: 0.82 } }, rounds)

  const preparedSide: Side = {
    name: 'outbox.add, prepared',
    measure: () => transactions((client) => prepared.add(client, message())),
  }
  const preparedRaw: Side = {
    name: 'a raw INSERT, prepared too',
    measure: () => transactions((client) => client.query({ name: 'raw', text, values: values() })),
  }
  yield await duel(
    {
      ...{ name: '8 writers, outbox.add via viaPrepared', ours: preparedSide, beside: preparedRaw },
      target: { speed: 0.75 },
    },
    Math.ceil(rounds / 2),
  )

  const strict = postgresOutbox({ strictOrder: true })
  const strictSide: Side = {
    name: 'outbox.add, strictOrder',
    measure: () => transactions((client) => strict.add(client, message())),
  }
  yield await duel(
    { name: '8 writers, outbox.add with strictOrder', ours: strictSide, beside: raw, target: null },
    Math.ceil(rounds / 2),
  )

  const notifier = postgresOutboxNotifier(pool)
  const notifying: Side = {
    name: 'with NOTIFY',
    measure: () => transactions(add, () => notifier.notify()),
  }
  yield await duel(
    {
      name: '8 writers, with NOTIFY after the commit',
      ours: notifying,
      beside: { ...alone, name: 'without it' },
      target: null,
    },
    Math.ceil(rounds / 2),
  )

  let backlog = 0
  const beside: Side = {
    name: 'beside a relay',
    async measure() {
      const stop = new AbortController()
      const relay = outboxRelay({ store, publisher: { publish: async () => {} } }).run(stop.signal)
      await sleep(300)
      const rate = await transactions(add)
      backlog = Math.max(backlog, (await store.status()).pending)
      stop.abort()
      await relay
      return rate
    },
  }
  yield await duel(
    {
      name: '8 writers beside a running relay',
      ours: beside,
      beside: { ...alone, name: 'the same without a relay' },
      target: { speed: 0.95 },
      remark: () => `at most ${backlog} unpublished when the writers stopped`,
    },
    rounds,
  )
}

type Insert = (client: pg.PoolClient) => Promise<unknown>
