import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { adapters, type Mutant } from './mutants.ts'

const USAGE = `Usage: npm run mutants -- [adapter…] [--only name]

  Plants bugs in the adapters of the brokers, one at a time, and runs the contracts of transports and publishers on real
  servers. Exits with 1 where a bug survives: then the contract has a hole.

  adapters  ${Object.keys(adapters).join(' ')}   (default: all)
  --only    the mutants of that name`

interface Verdict {
  readonly found: readonly string[]
  readonly passed: number
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: 'string' }, help: { type: 'boolean', default: false } },
})
const unknown = positionals.filter((name) => !Object.hasOwn(adapters, name))
if (values.help || unknown.length > 0) {
  if (unknown.length > 0) console.error(`mutants: no adapter '${unknown.join("', '")}'`)
  console.log(USAGE)
  process.exit(values.help ? 0 : 2)
}

const out = await mkdtemp(join(tmpdir(), 'mutants-'))
let survived = 0
try {
  for (const name of positionals.length > 0 ? positionals : Object.keys(adapters)) await hunt(name)
} finally {
  await rm(out, { recursive: true, force: true })
}
process.exit(survived === 0 ? 0 : 1)

async function hunt(adapter: string): Promise<void> {
  const found = adapters[adapter]
  if (found === undefined) return
  for (const contract of ['transport', 'publisher'] as const)
    for (const [name, mutant] of Object.entries(found[contract]))
      if (values.only === undefined || values.only === name)
        await judge(`${adapter}/${contract}/${name}`, mutant, `test/transports/${found.suites[contract]}`)
}

async function judge(id: string, { bug }: Mutant, suite: string): Promise<void> {
  const { found, passed } = await run(id, suite)
  const [first] = found
  if (first === undefined) survived++
  console.log(`${id}: ${bug}: ${first === undefined ? `SURVIVED ${passed} cases` : `caught by '${first}'`}`)
}

/** Ends with the first case that fails. */
async function run(mutant: string, suite: string): Promise<Verdict> {
  const file = join(out, 'result.json')
  await rm(file, { force: true })
  const vitest = join(import.meta.dirname, '../../node_modules/vitest/vitest.mjs')
  const config = join(import.meta.dirname, 'vitest.config.ts')
  const args = [
    'run',
    '--config',
    config,
    '--project',
    'int',
    '--bail',
    '1',
    '--reporter',
    'json',
    '--outputFile',
    file,
  ]
  const child = spawn(process.execPath, ['--disable-warning=TimeoutNegativeWarning', vitest, ...args, suite], {
    cwd: join(import.meta.dirname, '../..'),
    env: { ...process.env, HOLDFAST_MUTANT: mutant },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr.on('data', (text) => (said += String(text)))
  await once(child, 'exit')
  const text = await readFile(file, 'utf8').catch(() => {
    throw new Error(`${mutant}: the suite did not run:\n${said}`)
  })
  const results = (JSON.parse(text) as Results).testResults.flatMap(({ assertionResults }) => assertionResults)
  const titles = (status: string): string[] =>
    results.filter((each) => each.status === status).map(({ title }) => title)
  const [found, passed] = [titles('failed'), titles('passed').length]
  if (found.length + passed === 0) throw new Error(`${mutant}: no case ran:\n${said}`)
  return { found, passed }
}

interface Results {
  readonly testResults: readonly {
    readonly assertionResults: readonly { readonly title: string; readonly status: string }[]
  }[]
}
