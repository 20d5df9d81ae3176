import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { up } from '../../services/manager.ts'
import { serviceNamed } from '../../services/table.ts'
import { breaks, isBreakName } from './breaks.ts'
import { chaos } from './run.ts'

const USAGE = `Usage: npm run chaos:outbox -- [--messages n] [--seed n] [--no-kafka] [--postgres debian|embedded] [--break name]

  16 writers of every kind on a PostgreSQL of its own, which is restarted; 3 relay processes that are killed and paused
  past their leases; real Kafka as the target. Exits with 1 where a committed message was lost, one was published whose
  transaction did not commit, or the first deliveries of a key came out of order.

  --break     plants a fault that the run must find:
${Object.entries(breaks)
  .map(([name, what]) => `                ${name.padEnd(14)} ${what}`)
  .join('\n')}`

const { values: flags } = parseArgs({
  options: {
    messages: { type: 'string', default: '100000' },
    seed: { type: 'string' },
    kafka: { type: 'boolean', default: true },
    postgres: { type: 'string' },
    break: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
  allowNegative: true,
})
if (flags.help) {
  console.log(USAGE)
  process.exit(0)
}
const { break: planted, postgres: flavour } = flags
const messages = Number(flags.messages)
const seed = Number(flags.seed ?? randomInt(1, 2 ** 31))
if (planted !== undefined && !isBreakName(planted)) fail(`no fault is called ${planted}`)
if (flavour !== undefined && flavour !== 'debian' && flavour !== 'embedded') fail(`--postgres is debian or embedded`)
if (!Number.isSafeInteger(messages) || messages < 1) fail(`--messages must be a whole number above 0`)
if (!Number.isSafeInteger(seed)) fail(`--seed must be a whole number`)

const kafka = flags.kafka ? await up(serviceNamed('kafka'), (line) => console.error(line)) : null
console.log(`${messages} messages, seed ${seed}${planted === undefined ? '' : `, planted: ${breaks[planted]}`}`)
const started = Date.now()
const { counts, dead, recoveryMs, ...ledger } = await chaos({
  ...{ messages, seed, planted, flavour, brokers: kafka?.url.split(',') ?? null },
  say: (line) => console.error(line),
})
const table = {
  ...ledger,
  ...counts,
  dead,
  'recovery ms': Math.round(recoveryMs),
  seed,
  seconds: Math.round((Date.now() - started) / 1000),
}
for (const [what, count] of Object.entries(table)) console.log(`  ${what.padEnd(16)} ${count}`)
const broken = ledger.lost > 0 || ledger.phantom > 0 || ledger.outOfOrder > 0
console.log(broken ? 'BROKEN: see above' : 'kept: nothing lost, nothing invented, every key in order')
process.exit(broken ? 1 : 0)

function fail(what: string): never {
  console.error(`${what}\n\n${USAGE}`)
  process.exit(2)
}
