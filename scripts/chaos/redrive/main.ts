/**
 * The ledger of redrives: letters in redrives, worked on by several processes that are killed and paused, beside
 * redeliveries of the originals. Nothing may be lost, done twice, stuck, or out of its key's order.
 * `npm run chaos:redrive -- [letters] [kills] [pauses]`
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import pg from 'pg'
import { deadLetter } from '../../../src/dead-letter/dead-letter.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { PermanentError } from '../../../src/core/errors.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { migrate, postgresDeadLetters, postgresIdempotencyStore } from '../../../src/stores/postgres/index.ts'

const [total = 400, mostKills = 20, mostPauses = 6] = process.argv.slice(2).map(Number)
const leaseMs = 1500
const url = process.env['HOLDFAST_POSTGRES_URL']
if (url === undefined) throw new Error('chaos:redrive: set HOLDFAST_POSTGRES_URL; npm run services -- up prints it')
const schema = `redrive_${Date.now().toString(36)}`
const pool = new pg.Pool({ connectionString: url, max: 10 })
const letters = postgresDeadLetters(pool, { schema })
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const say = (text: string) => process.stdout.write(`${text}\n`)

await migrate(pool, { schema })
await pool.query(`create table ${schema}.effect (at bigserial, id text, key text, n int)`)
const dying = pipeline('billing')
  .use(deadLetter({ to: letters }))
  .use(idempotency({ store: postgresIdempotencyStore(pool, { schema }) }))
  .handle(() => {
    throw new PermanentError('a bug')
  })
for (let n = 0; n < total; n++) {
  const body = Buffer.from(JSON.stringify({ n, ...(n % 25 === 7 && { poison: true }) }))
  const key = n % 10 === 3 ? null : `key-${n % Math.ceil(total / 8)}`
  await dying.dispatch({ message: { id: `m${n}`, key, body }, origin: { destination: 'orders' } })
}
// Some were completed by another way meanwhile.
await pool.query(`update ${schema}.idempotency set state = 'completed', failure = null where key ~ '^m\\d*33$'`)
const before = (await pool.query<{ key: string }>(`select key from ${schema}.idempotency where state = 'completed'`))
  .rows
const completedBefore = new Set(before.map(({ key }) => key))

const file = join(import.meta.dirname, 'worker.ts')
const children = new Map<ChildProcess, number>()
function start(): void {
  const child = spawn(process.execPath, [file, String(url), schema, String(leaseMs)], {
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  children.set(child, Date.now())
  child.once('exit', () => children.delete(child))
}
for (let n = 0; n < 3; n++) start()
let [kills, pauses, redrives] = [0, 0, 0]
const until = Date.now() + 8 * 60_000
let nextTrouble = Date.now() + 2500

for (let round = 0; Date.now() < until; round++) {
  if ((await letters.active()).length === 0) {
    const { rows } = await pool.query<{ n: number }>(
      `select count(*)::int as n from ${schema}.dead_letter where state in ('dead', 'redriving') and convert_from(body, 'UTF8') not like '%poison%'`,
    )
    const left = rows[0]?.n ?? 0
    // What a worker was killed over after it sent: an operator reopens it.
    if (left === 0) break
    // Poison ends its key in every redrive: an operator gives it up once it is seen.
    await letters.drop({ text: 'is poison' }, 'ledger')
    const made = await letters.create({}, { maxRedrives: 1000 }, 'ledger')
    if (made !== undefined) redrives++
  }
  if (Date.now() >= nextTrouble && (kills < mostKills || pauses < mostPauses)) {
    nextTrouble = Date.now() + 300 + Math.random() * 1200
    const grown = [...children].filter(([, born]) => Date.now() - born > 2000).map(([child]) => child)
    const child = grown[Math.floor(Math.random() * grown.length)]
    if (child !== undefined && pauses < mostPauses && Math.random() < 0.3) {
      pauses++
      child.kill('SIGSTOP')
      setTimeout(() => child.kill('SIGCONT'), leaseMs * 2)
    } else if (child !== undefined && kills < mostKills) {
      kills++
      child.kill('SIGKILL')
      start()
    }
  }
  while (children.size < 3) start()
  await pause(100)
}
for (const child of children.keys()) {
  child.kill('SIGCONT')
  child.kill('SIGTERM')
}
const endBy = Date.now() + 15_000
while (children.size > 0 && Date.now() < endBy) await pause(100)
for (const child of children.keys()) child.kill('SIGKILL')

const effects = (
  await pool.query<{ id: string; key: string | null; n: number }>(`select * from ${schema}.effect order by at`)
).rows
const times = new Map<string, number>()
for (const { id } of effects) times.set(id, (times.get(id) ?? 0) + 1)
const poison = (n: number) => n % 25 === 7
const ids = Array.from({ length: total }, (_, n) => n)
const lost = ids.filter((n) => !poison(n) && !times.has(`m${n}`) && !completedBefore.has(`m${n}`))
const doubled = ids.filter((n) => (times.get(`m${n}`) ?? 0) + (completedBefore.has(`m${n}`) ? 1 : 0) > 1)
const lastOfKey = new Map<string, number>()
let disordered = 0
for (const { key, n } of effects) {
  if (key === null) continue
  if ((lastOfKey.get(key) ?? -1) > n) disordered++
  lastOfKey.set(key, n)
}
const states = (
  await pool.query<{ state: string; n: number }>(
    `select state, count(*)::int as n from ${schema}.dead_letter group by 1`,
  )
).rows
const open =
  (await pool.query<{ n: number }>(`select count(*)::int as n from ${schema}.redrive_item where result is null`))
    .rows[0]?.n ?? 0
const stuck = states.find(({ state }) => state === 'redriving')?.n ?? 0
say(
  `${total} letters in ${redrives} redrives, ${kills} SIGKILL, ${pauses} SIGSTOP: ${lost.length} lost, ${doubled.length} doubled, ${disordered} out of their key's order, ${stuck} stuck, ${open} items without a result; ${states.map(({ state, n }) => `${n} ${state}`).join(', ')}`,
)
await pool.query(`drop schema ${schema} cascade`)
await pool.end()
process.exitCode = lost.length + doubled.length + disordered + stuck + open > 0 ? 1 : 0
