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
import { compare, inFlight, type Contender, type Row, type Target } from '../measure.ts'
import { deliveries } from '../messages.ts'
import { pgbench } from '../pgbench.ts'

const batchSize = 16
const { claimSql, completeSql, completeAllSql } = idempotencyStatements('holdfast', { inside: false })
const { claimInSql, claimAllInSql } = idempotencyStatements('holdfast', { inside: true })
const effect = 'insert into effect (key, amount) values ($1, 450)'
const effects = 'insert into effect (key, amount) select unnest($1::text[]), 450'

/** How the stack under test is put together. */
interface Build {
  readonly pool: pg.Pool
  readonly claims: Queryable
  readonly claim: 'outside' | 'inside'
  readonly prepared: boolean
}

/** A claim, an effect and the completion: on a server with `fsync` as it comes. */
export async function* postgresArea(rounds: number): AsyncIterable<Row> {
  const server = await privatePostgres({ settings: ['shared_buffers=512MB', 'max_wal_size=8GB'] })
  const pool = new pg.Pool({ connectionString: server.url, max: batchSize })
  const plainClaims = new pg.Pool({ connectionString: server.url, max: 4 })
  for (const each of [pool, plainClaims]) each.on('error', () => {})
  const build = (claim: Build['claim'], prepared: boolean): Build => ({
    ...{ pool, claim, prepared, claims: prepared ? preparedRunner(plainClaims) : plainClaims },
  })
  const shared = { area: 'postgres', sliceMs: 400 }
  try {
    await migrate(pool)
    await pool.query('create table effect (id bigserial primary key, key text not null, amount int not null)')
    await pool.query('create table claim (key text primary key, done boolean not null, at timestamptz not null)')
    const one = (claim: Build['claim'], prepared = false): Contender =>
      contender(`claim ${claim}`, pool, batchSize, onePerTransaction(build(claim, prepared)))
    const single = `claim + effect + completion, ${batchSize} in flight`
    const autos = autocommits(pool, batchSize)
    const outside = one('outside')
    const inside = one('inside')
    const pgbenchOne = limit(pool, server.url, insideScript, { connections: batchSize, batch: 1 })
    const singles: readonly (readonly [string, Contender, Contender, Target | null])[] = [
      [single, outside, autos, null],
      [`${single}, prepared`, one('outside', true), autos, null],
      [single, outside, limit(pool, server.url, singleScript, { connections: batchSize, batch: 1 }), null],
      [`${single}, claim inside`, inside, autos, { speed: 0.8 }],
      [`${single}, claim inside, prepared`, one('inside', true), autos, { speed: 0.95 }],
      [`${single}, claim inside`, inside, pgbenchOne, { speed: 0.6 }],
      [`${single}, claim inside`, inside, outside, { speed: 1.3 }],
    ]
    for (const [name, ours, beside, target] of singles)
      yield await compare({ ...shared, name, ours, beside, target }, rounds)
    for (const atOnce of [16, 64]) {
      const batch = (claim: Build['claim'], prepared = false): Contender =>
        contender(`claim ${claim}`, pool, atOnce, batchPerTransaction(build(claim, prepared)))
      const name = `claim + effect + completion, batches of ${batchSize}, ${atOnce} in flight`
      const besides = autocommits(pool, atOnce)
      const connections = atOnce / batchSize
      const pgbenchBatch = limit(pool, server.url, insideBatchScript, { connections, batch: batchSize })
      const rows: readonly (readonly [string, Contender, Contender, Target | null])[] = [
        [name, batch('outside'), besides, null],
        [name, batch('outside'), limit(pool, server.url, batchScript, { connections, batch: batchSize }), null],
        [`${name}, claim inside`, batch('inside'), besides, { speed: atOnce === 16 ? 3.5 : 6 }],
        [`${name}, claim inside, prepared`, batch('inside', true), besides, null],
        [`${name}, claim inside, prepared`, batch('inside', true), pgbenchBatch, { speed: 0.75 }],
      ]
      for (const [each, ours, beside, target] of rows)
        yield await compare({ ...shared, name: each, ours, beside, target }, rounds)
    }
  } finally {
    await Promise.all([pool.end(), plainClaims.end()])
    await server.dispose()
  }
}

/** Each time from empty tables, and with nothing left to write behind. */
async function empty(pool: pg.Pool): Promise<void> {
  await pool.query('truncate effect, claim, holdfast.idempotency')
  await pool.query('checkpoint')
}

function contender(name: string, pool: pg.Pool, atOnce: number, { step }: Pick<Pipeline, 'step'>): Contender {
  const next = deliveries()
  return {
    name,
    async run(times) {
      await empty(pool)
      return inFlight(times, atOnce, () => step(next()))
    },
  }
}

function claiming({ claims, claim }: Build) {
  return idempotency({ store: postgresIdempotencyStore(claims, { inside: claim === 'inside' }), claim })
}

function onePerTransaction(build: Build): Pick<Pipeline, 'step'> {
  return pipeline('bench')
    .use(claiming(build))
    .use(transaction(build.pool, { prepared: build.prepared }))
    .handle(({ message, tx }) => tx.query(effect, [message.id]))
}

function batchPerTransaction(build: Build): Pick<Pipeline, 'step'> {
  const stage = transaction(build.pool, { prepared: build.prepared })
  return pipeline('bench')
    .use(claiming(build))
    .handleBatch(
      { maxSize: batchSize },
      inOneTransaction(stage, (batch, tx) => tx.query(effects, [batch.map(({ message }) => message.id)])),
    )
}

/** What is written where nobody thought of one transaction: each statement commits by itself, in the leanest table. */
function autocommits(pool: pg.Pool, atOnce: number): Contender {
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

interface Flight {
  readonly connections: number
  /** Messages in each transaction. */
  readonly batch: number
}

/** pgbench with the same statements: as many connections as ours has transactions open, and as many messages in flight. */
function limit(pool: pg.Pool, url: string, script: string, { connections, batch }: Flight): Contender {
  const atOnce = connections * batch
  return {
    name: 'pgbench, the same statements',
    async run(times) {
      await empty(pool)
      await pool.query("select setval('holdfast.fence', 1, false)")
      const file = join(tmpdir(), `holdfast-bench-${process.pid}.sql`)
      await writeFile(file, script)
      const each = Math.ceil(times / atOnce)
      const flags = ['-n', '-M', 'extended', '-c', String(connections), '-t', String(each)]
      const answer = await run(pgbench(), [...flags, '-D', `n=${1 - batch}`, '-f', file, url]).finally(() => rm(file))
      const { rows } = await pool.query<{ open: number; done: number }>(
        "select count(*) filter (where state <> 'completed')::int as open, count(*)::int as done from holdfast.idempotency",
      )
      if (rows[0]?.open !== 0) throw new Error(`pgbench left ${rows[0]?.open} claims open`)
      if (rows[0].done !== each * atOnce) throw new Error(`pgbench claimed ${rows[0].done} of ${each * atOnce} keys`)
      const perSecond = Number(/tps = ([\d.]+)/.exec(answer)?.[1])
      return ((each * connections) / perSecond) * 1000 * (times / (each * atOnce))
    },
  }
}

/** A statement with SQL in the place of its parameters. */
function filled(text: string, ...values: readonly string[]): string {
  return text
    .replace(/\$(\d+)/g, (place, n: string) => {
      const value = values[Number(n) - 1]
      if (value === undefined) throw new Error(`bench: pgbench was given no ${place} for: ${text}`)
      return value
    })
    .replaceAll('\n', ' ')
}

const key = "'key-' || :client_id || '-' || :n"
const ownKeyOf = "'key-' || :client_id || '-' || lpad(g::text, 12, '0')"
const range = `generate_series(:n, :n + ${batchSize - 1}) g`
const keys = `array(select ${ownKeyOf} from ${range})`
const many = (value: string): string => `array_fill(${value}, array[${batchSize}])`
const retainMs = '604800000'

const singleScript = [
  '\\set n :n + 1',
  `${filled(claimSql.plain, 'array[0]', "array['bench']", `array[${key}]`, `array[${key}]`, 'array[30000]', 'array[null]', "'500ms'")} \\gset claim_`,
  'begin;',
  `${filled(effect, key)};`,
  `${filled(completeSql, "'bench'", key, ':claim_token', retainMs, "''")};`,
  'commit;\n',
].join('\n')

// The completion reads the tokens of its claims: other connections draw from the same sequence.
const batchScript = [
  `\\set n :n + ${batchSize}`,
  `${filled(claimSql.plain, `array(select generate_series(1, ${batchSize}))`, many("'bench'::text"), keys, keys, many('30000'), many('null::text'), "'500ms'")};`,
  'begin;',
  `${filled(effects, keys)};`,
  `${filled(
    completeAllSql,
    `(select json_agg(json_build_object('n', g, 'scope', 'bench', 'key', ${ownKeyOf}, 'token', i.token, 'retain_ms', ${retainMs})) from ${range} join holdfast.idempotency i on i.scope = 'bench' and i.key = ${ownKeyOf})`,
    "''",
  )};`,
  'commit;\n',
].join('\n')

const insideScript = [
  '\\set n :n + 1',
  'begin;',
  `${filled(claimInSql, "'bench'", key, retainMs, 'null', "'30000ms'")};`,
  `${filled(effect, key)};`,
  'commit;\n',
].join('\n')

const insideBatchScript = [
  `\\set n :n + ${batchSize}`,
  'begin;',
  `${filled(
    claimAllInSql,
    `(select json_agg(json_build_object('n', g, 'scope', 'bench', 'key', ${ownKeyOf}, 'retain_ms', ${retainMs})) from ${range})`,
    "'30000ms'",
  )};`,
  `${filled(effects, keys)};`,
  'commit;\n',
].join('\n')
