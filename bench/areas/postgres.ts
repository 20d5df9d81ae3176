import { idempotency, pipeline, type Pipeline } from 'holdfast'
import {
  inOneTransaction,
  migrate,
  postgresIdempotencyStore,
  preparedRunner,
  transaction,
  type Queryable,
} from 'holdfast/postgres'
import { rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { privatePostgres } from '../../test/support/private-servers.ts'
import { run } from '../../scripts/services/commands.ts'
import { idempotencyStatements } from '../../src/stores/postgres/idempotency/statements.ts'
import { compare, inFlight, type Contender, type Row } from '../measure.ts'
import { deliveries } from '../messages.ts'
import { pgbench } from '../pgbench.ts'

const atOnce = 16
const { claimSql, completeSql, completeAllSql } = idempotencyStatements('holdfast')
const effect = 'insert into effect (key, amount) values ($1, 450)'
const effects = 'insert into effect (key, amount) select unnest($1::text[]), 450'

/** A claim, an effect and the completion: the last two in one transaction, on a server with `fsync` as it comes. */
export async function* postgresArea(rounds: number): AsyncIterable<Row> {
  const server = await privatePostgres({ settings: ['shared_buffers=512MB', 'max_wal_size=8GB'] })
  const pool = new pg.Pool({ connectionString: server.url, max: atOnce })
  const claims = new pg.Pool({ connectionString: server.url, max: 4 })
  for (const each of [pool, claims]) each.on('error', () => {})
  try {
    await migrate(pool)
    await pool.query('create table effect (id bigserial primary key, key text not null, amount int not null)')
    await pool.query('create table claim (key text primary key, done boolean not null, at timestamptz not null)')
    const shared = { area: 'postgres', sliceMs: 400 }
    const single = contender('holdfast', pool, onePerTransaction(pool, claims))
    const batched = contender('holdfast', pool, batchPerTransaction(pool, claims))
    const prepared = preparedRunner(claims)
    const singlePrepared = contender('holdfast', pool, onePerTransaction(pool, prepared))
    const batchedPrepared = contender('holdfast', pool, batchPerTransaction(pool, prepared))
    const plain = autocommits(pool)
    const name = `claim + effect + completion, ${atOnce} in flight`
    yield await compare({ ...shared, name, ours: single, beside: plain, target: { speed: 1.6 } }, rounds)
    yield await compare(
      { ...shared, name: `${name}, claims prepared`, ours: singlePrepared, beside: plain, target: null },
      rounds,
    )
    yield await compare(
      { ...shared, name, ours: single, beside: limit(pool, server.url, singleScript, 1), target: null },
      rounds,
    )
    yield await compare(
      { ...shared, name: `${name}, batched`, ours: batched, beside: plain, target: { speed: 6 } },
      rounds,
    )
    yield await compare(
      { ...shared, name: `${name}, batched, claims prepared`, ours: batchedPrepared, beside: plain, target: null },
      rounds,
    )
    yield await compare(
      {
        ...shared,
        name: `${name}, batched`,
        ours: batched,
        beside: limit(pool, server.url, batchScript, atOnce),
        target: { speed: 0.75 },
      },
      rounds,
    )
  } finally {
    await Promise.all([pool.end(), claims.end()])
    await server.dispose()
  }
}

/** Each time from empty tables, and with nothing left to write behind. */
async function empty(pool: pg.Pool): Promise<void> {
  await pool.query('truncate effect, claim, holdfast.idempotency')
  await pool.query('checkpoint')
}

function contender(name: string, pool: pg.Pool, { step }: Pick<Pipeline, 'step'>): Contender {
  const next = deliveries()
  return {
    name,
    async run(times) {
      await empty(pool)
      return inFlight(times, atOnce, () => step(next()))
    },
  }
}

function onePerTransaction(pool: pg.Pool, claims: Queryable): Pick<Pipeline, 'step'> {
  return pipeline('bench')
    .use(idempotency({ store: postgresIdempotencyStore(claims) }))
    .use(transaction(pool))
    .handle(({ message, tx }) => tx.query(effect, [message.id]))
}

function batchPerTransaction(pool: pg.Pool, claims: Queryable): Pick<Pipeline, 'step'> {
  return pipeline('bench')
    .use(idempotency({ store: postgresIdempotencyStore(claims) }))
    .handleBatch(
      { maxSize: atOnce },
      inOneTransaction(transaction(pool), (batch, tx) => tx.query(effects, [batch.map(({ message }) => message.id)])),
    )
}

/** What is written where nobody thought of one transaction: each statement commits by itself, in the leanest table. */
function autocommits(pool: pg.Pool): Contender {
  let keys = 0
  return {
    name: 'three autocommits',
    async run(times) {
      await empty(pool)
      return inFlight(times, atOnce, async () => {
        const key = `key-${keys++}`
        await pool.query('insert into claim values ($1, false, now()) on conflict do nothing', [key])
        await pool.query(effect, [key])
        await pool.query('update claim set done = true where key = $1', [key])
      })
    },
  }
}

/** pgbench with the same statements: as many connections as ours has transactions open, and as many messages in flight. */
function limit(pool: pg.Pool, url: string, script: string, batchSize: number): Contender {
  const connections = atOnce / batchSize
  return {
    name: 'pgbench, the same statements',
    async run(times) {
      await empty(pool)
      await pool.query("select setval('holdfast.fence', 1, false)")
      const file = join(tmpdir(), `holdfast-bench-${process.pid}.sql`)
      await writeFile(file, script)
      const each = Math.ceil(times / atOnce)
      const answer = await run(pgbench(), [
        ...[
          '-n',
          '-M',
          'extended',
          '-c',
          String(connections),
          '-t',
          String(each),
          '-D',
          `n=${1 - batchSize}`,
          '-f',
          file,
          url,
        ],
      ]).finally(() => rm(file))
      const { rows } = await pool.query<{ open: number }>(
        "select count(*)::int as open from holdfast.idempotency where state <> 'completed'",
      )
      if (rows[0]?.open !== 0) throw new Error(`pgbench left ${rows[0]?.open} claims open`)
      const perSecond = Number(/tps = ([\d.]+)/.exec(answer)?.[1])
      return ((each * connections) / perSecond) * 1000 * (times / (each * atOnce))
    },
  }
}

/** A statement with SQL in the place of its parameters. */
function filled(text: string, ...values: readonly string[]): string {
  return text.replace(/\$(\d+)/g, (_, place: string) => values[Number(place) - 1] ?? 'null').replaceAll('\n', ' ')
}

const key = "'key-' || :client_id || '-' || :n"
const keyOf = "'key-' || lpad(g::text, 12, '0')"
const keys = `array(select ${keyOf} from generate_series(:n, :n + ${atOnce - 1}) g)`
const many = (value: string): string => `array_fill(${value}, array[${atOnce}])`

const singleScript = [
  '\\set n :n + 1',
  `${filled(claimSql, 'array[0]', "array['bench']", `array[${key}]`, `array[${key}]`, 'array[30000]', 'array[null]', "'500ms'")} \\gset claim_`,
  'begin;',
  `${filled(effect, key)};`,
  `${filled(completeSql, "'bench'", key, ':claim_token', '604800000')};`,
  'commit;\n',
].join('\n')

// One connection claims them all in order, so the tokens are the numbers of the messages.
const batchScript = [
  `\\set n :n + ${atOnce}`,
  `${filled(claimSql, `array(select generate_series(1, ${atOnce}))`, many("'bench'::text"), keys, keys, many('30000'), many('null::text'), "'500ms'")};`,
  'begin;',
  `${filled(effects, keys)};`,
  `${filled(
    completeAllSql,
    `(select json_agg(json_build_object('n', g, 'scope', 'bench', 'key', ${keyOf}, 'token', g, 'retain_ms', 604800000)) from generate_series(:n, :n + ${atOnce - 1}) g)`,
  )};`,
  'commit;\n',
].join('\n')
