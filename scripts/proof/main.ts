import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { groups, scenarioNamed, scenarios } from '../chaos/scenarios.ts'
import { sweepPrivateServers } from '../../test/support/private-servers.ts'
import { writeFormatted } from '../write-formatted.ts'
import { surroundings } from './surroundings.ts'
import { pageOf } from './page.ts'
import { readRecords, type Record } from './records.ts'
import { rowOf } from './row.ts'

const USAGE = `Usage: npm run proof -- [--full] [--seed n] [--only name,name]

Runs the table of reliability on real servers, one scenario after the other. Each leaves a record
in docs/proof.json, of which docs/proof.md is made.
Exits with 1 where a promise was broken or a scenario did not come to its end.

  --full  at full length, which takes hours           (default: shortened)
  --only  some of them; the rows of the others stay as they are
  --page  runs nothing: makes the page of the records`

const { values: flags } = parseArgs({
  options: {
    full: { type: 'boolean', default: false },
    seed: { type: 'string', default: '7' },
    only: { type: 'string' },
    page: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
const docs = join(import.meta.dirname, '../../docs')
const recordsFile = join(docs, 'proof.json')
const only = flags.only?.split(',')
const seed = Number(flags.seed)
if (flags.help) console.log(USAGE)
else if (flags.page) await writePage(readRecords(recordsFile))
else if (!Number.isSafeInteger(seed) || only?.some((name) => scenarioNamed(name) === undefined) === true) {
  console.error(USAGE)
  process.exitCode = 2
} else process.exitCode = (await prove()) ? 0 : 1

async function prove(): Promise<boolean> {
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort())
  const around = await surroundings()
  const chosen = scenarios.filter(({ name }) => only?.includes(name) ?? true)
  const broken: string[] = []
  for (const [at, scenario] of chosen.entries()) {
    console.log(`\n[${at + 1}/${chosen.length}]`)
    const how = { seed, full: flags.full }
    const row = await rowOf(scenario, { ...how, signal: interrupted.signal })
    if (interrupted.signal.aborted) return false
    if (row.violations.length > 0) broken.push(`${scenario.name}: ${row.violations.join('; ')}`)
    await keep({ name: scenario.name, ...how, ...row, around })
  }
  // Of a scenario that had to be killed.
  await sweepPrivateServers()
  for (const what of broken) console.log(`BROKEN ${what}`)
  console.log(`${chosen.length - broken.length} of ${chosen.length} promises kept, see docs/proof.md`)
  return broken.length === 0
}

/** After each row, so that a run that ends early leaves what it has found out. */
async function keep(record: Record): Promise<void> {
  await writePage(new Map([...readRecords(recordsFile), [record.name, record]]))
}

async function writePage(records: ReadonlyMap<string, Record>): Promise<void> {
  // What is no scenario any more goes.
  const known = scenarios.map(({ name }) => records.get(name)).filter((one) => one !== undefined)
  await writeFormatted(recordsFile, JSON.stringify(known))
  await writeFormatted(join(docs, 'proof.md'), pageOf(groups, known))
}
