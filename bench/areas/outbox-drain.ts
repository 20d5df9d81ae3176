import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Row } from '../measure.ts'
import { graphileWorker, pgBoss, pgTransactionalOutbox } from '../peers/outboxes.ts'
import { pgbench } from '../pgbench.ts'
import { drained, perSecond, type OutboxServer } from './outbox-server.ts'
import { duel, type Side } from './outbox-rounds.ts'

const rows = 100_000
const bytes = 1000
const batch = 500
const columns = 'topic, key, type, message_id, headers, payload, created_at'

/** What a relay without windows would do for each batch: read and lock it, publish, delete it. */
const selectAndDelete = `begin;
select id, ${columns} from queue order by id limit ${batch} for update skip locked;
delete from queue where id in (select id from queue order by id limit ${batch});
commit;
`
/** One statement for both: the least that can be asked of the server. */
const deleteReturning = `delete from queue where id in (
  select id from queue order by id limit ${batch} for update skip locked) returning id, ${columns};
`

export async function* drainRows(server: OutboxServer, rounds: number): AsyncIterable<Row> {
  const name = 'drain of 100,000 × 1 KB to a publisher that does nothing'
  const dir = await mkdtemp(join(tmpdir(), 'holdfast-bench-'))
  try {
    await server.pool.query(`create table queue (id bigserial primary key, topic text, key text, type text,
      message_id text, headers jsonb, payload bytea, created_at timestamptz default clock_timestamp())`)
    const byPgbench = (title: string, script: string): Side => ({
      name: title,
      async measure() {
        await fillQueue(server)
        const file = join(dir, 'drain.sql')
        await writeFile(file, script)
        const startedMs = performance.now()
        await promisify(execFile)(pgbench(), ['-n', '-t', String(rows / batch), '-f', file, server.url])
        return perSecond(rows, startedMs)
      },
    })
    const plain = byPgbench('SELECT … FOR UPDATE SKIP LOCKED + DELETE by pgbench', selectAndDelete)
    yield await duel({ name, ours: ours(server), beside: plain, target: { speed: 1.3 } }, rounds)
    const least = byPgbench('DELETE … RETURNING by pgbench', deleteReturning)
    yield await duel({ name, ours: ours(server), beside: least, target: null }, Math.ceil(rounds / 3))
  } finally {
    await rm(dir, { recursive: true })
  }
}

export async function* peerRows(server: OutboxServer, rounds: number): AsyncIterable<Row> {
  for (const [peer, target] of [
    [await pgTransactionalOutbox(server), { speed: 50 }],
    [await graphileWorker(server), { speed: 5 }],
    [await pgBoss(server), null],
  ] as const) {
    yield await duel({ name: 'drain of 1 KB messages', ours: ours(server), beside: peer, target }, rounds)
    await peer.dispose()
  }
}

function ours(server: OutboxServer): Side {
  return {
    name: 'holdfast',
    async measure() {
      await server.empty()
      await server.fill(rows, bytes)
      return drained(server, rows)
    },
  }
}

async function fillQueue({ pool }: OutboxServer): Promise<void> {
  await pool.query(
    `insert into queue (topic, key, type, message_id, payload)
     select 'holdfast-bench', 'k' || n % 1000, 't', n::text, decode(repeat('00', $2::int), 'hex')
     from generate_series(1, $1::int) n`,
    [rows, bytes],
  )
  await pool.query('vacuum analyze queue')
  await pool.query('checkpoint')
}
