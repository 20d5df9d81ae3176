/**
 * What parking costs a pipeline that parks nothing: time with it ÷ time without it, in interleaved rounds on real PostgreSQL.
 * `npm run measure:parking -- [--rounds 9] [--messages 1500] [--lanes 10000] [--prepared]`
 */
import { randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { deadLetter } from '../../src/dead-letter/dead-letter.ts'
import { pipeline, type Pipeline } from '../../src/core/pipeline.ts'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { parking } from '../../src/ordering/parking/parking.ts'
import { migrate, postgresIdempotencyStore, preparedRunner, transaction } from '../../src/stores/postgres/index.ts'
import { up } from '../services/manager.ts'
import { serviceNamed } from '../services/table.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '9' },
    messages: { type: 'string', default: '1500' },
    lanes: { type: 'string', default: '10000' },
    prepared: { type: 'boolean', default: false },
  },
})
const [rounds, messages, lanes] = [Number(values.rounds), Number(values.messages), Number(values.lanes)]
const atOnce = 32
const { url } = await up(serviceNamed('postgres'), (line) => console.error(line))
const schema = `measure_${randomBytes(4).toString('hex')}`
const [claims, work] = [
  new pg.Pool({ connectionString: url, max: 4 }),
  new pg.Pool({ connectionString: url, max: atOnce }),
]
for (const pool of [claims, work]) pool.on('error', () => {})
await migrate(claims, { schema })
await claims.query(`create table ${schema}.effect (id text, at timestamptz default now())`)
const store = postgresIdempotencyStore(values.prepared ? preparedRunner(claims) : claims, { schema })

/** The same stack with parking and without it. */
function stack(parks: boolean, inTransaction: boolean): Pipeline {
  const outside = pipeline('measure').use(deadLetter({ to: { publish: () => Promise.resolve() } }))
  const inside = (parks ? outside.use(parking({ store })) : outside).use(idempotency({ store }))
  if (!inTransaction) return inside.handle(() => {})
  return inside
    .use(transaction<pg.PoolClient>(work))
    .handle(({ message, tx }) => tx.query(`insert into ${schema}.effect (id) values ($1)`, [message.id]))
}

let ids = 0
/** Ms for so many new messages, some at once. */
async function timeOf(orders: Pipeline): Promise<number> {
  const startMs = performance.now()
  let left = messages
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (left-- > 0) {
        const id = String(ids++)
        await orders.dispatch({ message: { id, key: `k${ids % 500}`, body: null }, origin: { destination: 'topic' } })
      }
    }),
  )
  return performance.now() - startMs
}

async function ratioOf(
  inTransaction: boolean,
): Promise<{ readonly median: number; readonly quartiles: readonly number[] }> {
  const [plain, parks] = [stack(false, inTransaction), stack(true, inTransaction)]
  const ratios: number[] = []
  for (let round = -1; round < rounds; round++) {
    // The second one has the disturbance of the first behind it: they take turns.
    const order = round % 2 === 0 ? [plain, parks] : [parks, plain]
    const times = new Map<Pipeline, number>()
    for (const each of order) times.set(each, await timeOf(each))
    if (round >= 0) ratios.push((times.get(parks) ?? 0) / (times.get(plain) ?? 1))
  }
  const sorted = ratios.toSorted((a, b) => a - b)
  const at = (share: number): number => sorted[Math.round(share * (sorted.length - 1))] ?? Number.NaN
  return { median: at(0.5), quartiles: [at(0.25), at(0.75)] }
}

const targets = { bare: [1.08, 1.12], transaction: [1.03, 1.08] } as const
try {
  for (const [index, parked] of [0, lanes].entries()) {
    if (parked > 0)
      await claims.query(`insert into ${schema}.parked_lane (pipeline, lane, tail, next_at)
select 'measure', 'k5:topicother-' || n, 1, 'infinity' from generate_series(1, ${parked}) n; analyze ${schema}.parked_lane`)
    for (const kind of ['transaction', 'bare'] as const) {
      const { median, quartiles } = await ratioOf(kind === 'transaction')
      const spread = quartiles.map((each) => each.toFixed(3)).join('–')
      console.log(
        `${kind}, ${parked} parked keys: ${median.toFixed(3)} (quartiles ${spread}, target ${targets[kind][index] ?? ''})`,
      )
    }
  }
} finally {
  await claims.query(`drop schema ${schema} cascade`)
  await Promise.all([claims.end(), work.end()])
}
