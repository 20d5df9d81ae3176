import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { format, resolveConfig } from 'prettier'
import { groups, scenarioNamed } from '../chaos/scenarios.ts'
import { sweepPrivateServers } from '../chaos/support/private-servers.ts'
import { surroundings } from './surroundings.ts'
import { pageOf } from './page.ts'
import { rowOf, type Row } from './row.ts'

const USAGE = `Usage: npm run proof -- [--full] [--seed n] [--only name,name] [--out file]

Runs the table of reliability on real servers, one scenario after the other, and writes docs/proof.md.
Exits with 1 where a promise was broken or a scenario did not come to its end.

  --full  at full length, which takes hours           (default: shortened)
  --only  some of them; writes nothing but to --out
  --out   where to write                              (default: docs/proof.md)`

const { values: flags } = parseArgs({
  options: {
    full: { type: 'boolean', default: false },
    seed: { type: 'string', default: '7' },
    only: { type: 'string' },
    out: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
const only = flags.only?.split(',')
const seed = Number(flags.seed)
if (flags.help) console.log(USAGE)
else if (!Number.isSafeInteger(seed) || only?.some((name) => scenarioNamed(name) === undefined) === true) {
  console.error(USAGE)
  process.exitCode = 2
} else process.exitCode = (await prove()) ? 0 : 1

async function prove(): Promise<boolean> {
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort())
  const around = await surroundings()
  const chosen = groups
    .map(({ title, scenarios }) => ({ title, scenarios: scenarios.filter(({ name }) => only?.includes(name) ?? true) }))
    .filter(({ scenarios }) => scenarios.length > 0)
  const total = chosen.reduce((sum, { scenarios }) => sum + scenarios.length, 0)
  const rows: Row[] = []
  for (const scenario of chosen.flatMap(({ scenarios }) => scenarios)) {
    console.log(`\n[${rows.length + 1}/${total}]`)
    rows.push(await rowOf(scenario, { seed, full: flags.full, signal: interrupted.signal }))
    if (interrupted.signal.aborted) return false
  }
  // Of a scenario that had to be killed.
  await sweepPrivateServers()
  const page = pageOf(chosen, rows, { ...around, full: flags.full })
  const file = flags.out ?? (only === undefined ? join(import.meta.dirname, '../../docs/proof.md') : undefined)
  if (file === undefined) console.log(`\n${page}`)
  else {
    writeFileSync(file, await format(page, { ...(await resolveConfig(file)), parser: 'markdown' }))
    console.log(`\nwritten: ${file}`)
  }
  const broken = rows.filter(({ violations }) => violations.length > 0)
  for (const { scenario, violations } of broken) console.log(`BROKEN ${scenario.name}: ${violations.join('; ')}`)
  console.log(`${rows.length - broken.length} of ${rows.length} promises kept`)
  return broken.length === 0
}
