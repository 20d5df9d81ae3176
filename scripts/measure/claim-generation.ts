/**
 * What the generation of redrives costs a claim that succeeds: the stored statement next to the same one without it, on a
 * table without that column, in turns on one connection. `node scripts/measure/claim-generation.ts [pairs] [claims a pair]`
 */
import pg from 'pg'
import { idempotencyMigration } from '../../src/stores/postgres/idempotency/migration.ts'
import { redriveMigration } from '../../src/stores/postgres/idempotency/redrive-migration.ts'
import { idempotencyStatements } from '../../src/stores/postgres/idempotency/statements.ts'

const [pairs = 60, claims = 300] = process.argv.slice(2).map(Number)
const url = process.env['HOLDFAST_POSTGRES_URL']
if (url === undefined) throw new Error('claim-generation: set HOLDFAST_POSTGRES_URL; npm run services -- up prints it')
const stamp = Date.now().toString(36)
const [withIt, without] = [`claim_with_${stamp}`, `claim_without_${stamp}`]
const client = new pg.Client({ connectionString: url })
await client.connect()

/** The statement as it was before redrives: it knows no such column. */
function withoutGeneration(sql: string): string {
  const left = sql.replace('    generation = 0,\n', '')
  if (left.includes('generation')) throw new Error(`the generation is still there: ${left}`)
  return left
}

const sides: readonly [string, string] = [
  idempotencyStatements(withIt).claimSql.plain,
  withoutGeneration(idempotencyStatements(without).claimSql.plain),
]

let ids = 0
/** Ms for so many statements, each a claim of so many new keys. */
async function timeOf(sql: string, statements: number, keys: number): Promise<number> {
  const all = Array.from({ length: statements }, () => {
    const each = Array.from({ length: keys }, (_, n) => n)
    const named = each.map(() => `order-${ids++}`)
    const [owners, leases, none] = [each.map(() => 'host/1'), each.map(() => 30_000), each.map(() => null)]
    return [each, each.map(() => 'billing'), named, owners, leases, none, '5000ms']
  })
  const from = performance.now()
  for (const values of all) await client.query(sql, values)
  return performance.now() - from
}

function quartiles(all: readonly number[]): string {
  const sorted = all.toSorted((a, b) => a - b)
  const at = (part: number): string => (sorted[Math.floor((sorted.length - 1) * part)] ?? 0).toFixed(3)
  return `${at(0.5)} (${at(0.25)}–${at(0.75)})`
}

try {
  for (const schema of [withIt, without]) {
    await client.query(`create schema ${schema}`)
    await client.query(idempotencyMigration.sql(schema, { outbox: {} }))
  }
  await client.query(redriveMigration.sql(withIt, { outbox: {} }))
  for (const side of sides) await timeOf(side, 200, 1)
  for (const keys of [1, 32]) {
    const ratios: number[] = []
    for (let pair = 0; pair < pairs; pair++) {
      const statements = Math.max(1, Math.round(claims / keys))
      // The order of the two changes, so that what the first leaves behind is not charged to the second alone.
      const order = pair % 2 === 0 ? sides : [sides[1], sides[0]]
      const times = new Map<string, number>()
      for (const side of order) times.set(side, await timeOf(side, statements, keys))
      ratios.push((times.get(sides[0]) ?? 0) / (times.get(sides[1]) ?? 1))
    }
    process.stdout.write(`a claim of ${keys}: ${quartiles(ratios)} of the same without a generation, ${pairs} pairs\n`)
  }
} finally {
  for (const schema of [withIt, without]) await client.query(`drop schema if exists ${schema} cascade`)
  await client.end()
}
