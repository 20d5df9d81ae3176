import { mkdir, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { writeFormatted } from '../scripts/write-formatted.ts'
import { areas, type Area } from './areas.ts'
import { chart } from './chart.ts'
import { hardware, page, table } from './report.ts'
import type { Row } from './measure.ts'
import { writeSummary } from './summary.ts'
import { packageVersion, serverVersion } from './versions.ts'

const usage = `Usage: npm run bench -- [area…] [--rounds N] [--json] [--write]

  areas      ${Object.keys(areas).join(' ')}   (default: all)
  --rounds   interleaved rounds for each figure (default 9)
  --json     prints an array of rows and nothing else
  --write    writes docs/performance/ (table and charts)`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '9' },
    json: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
const rounds = Number(values.rounds)
const unknown = positionals.filter((name) => !Object.hasOwn(areas, name))
if (values.help || unknown.length > 0 || !Number.isInteger(rounds) || rounds < 1) {
  if (unknown.length > 0) console.error(`bench: no area '${unknown.join("', '")}'`)
  else if (!values.help) console.error(`bench: --rounds must be an integer of at least 1, got ${values.rounds}`)
  console.error(usage)
  process.exit(values.help ? 0 : 2)
}

const say = (line: string): void => void (values.json || process.stderr.write(`${line}\n`))
const rows: Row[] = []
const wanted = positionals.length > 0 ? positionals : Object.keys(areas)
say(hardware())
for (const name of wanted) {
  const area: Area | undefined = areas[name]
  if (area === undefined) continue
  say(`${name}: ${area.says}`)
  const versions = [...area.peers.map(packageVersion), ...(await Promise.all(area.servers.map(serverVersion)))]
  if (versions.length > 0) say(`  beside ${versions.join(', ')}`)
  const own: Row[] = []
  for await (const row of area.run(rounds)) {
    own.push(row)
    say(`  ${table([row]).split('\n').at(-1) ?? ''}`)
  }
  rows.push(...own)
  // Each area as soon as it is done: a run that is cut off later has not been for nothing.
  if (values.write) await write(name, versions, own)
}

if (values.json) console.log(JSON.stringify(rows, null, 2))
else console.log(`\n${table(rows)}`)
// Pools and timers of the peers would keep the process alive.
process.exit(0)

async function write(name: string, versions: readonly string[], own: readonly Row[]): Promise<void> {
  const folder = new URL('../docs/performance/', import.meta.url)
  await mkdir(folder, { recursive: true })
  await writeFormatted(fileURLToPath(new URL(`${name}.md`, folder)), page(name, versions, own))
  await writeFile(new URL(`${name}.svg`, folder), chart(name, own))
  await writeSummary(fileURLToPath(folder))
}
