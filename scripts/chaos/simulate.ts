import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { availableParallelism, cpus } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { scenarios } from './simulated/scenarios.ts'
import type { Share } from './simulated/worker.ts'

const USAGE = `Usage: npm run chaos:simulate -- [--schedules 1000000] [--scenario name] [--from seed] [--workers n] [--json file]

Runs our own stack in the simulated world, every schedule once, until one breaks an invariant.
--json writes down what was run, for a page to quote.

  Scenarios: ${Object.keys(scenarios).join(' ')}`

const { values } = parseArgs({
  options: {
    schedules: { type: 'string', default: '20000' },
    scenario: { type: 'string' },
    from: { type: 'string', default: '1' },
    workers: { type: 'string', default: `${availableParallelism()}` },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})

// Small enough that progress shows, large enough that starting a process does not count.
const SHARE = 10_000

/** Long runs take most of the time and few of the schedules. */
const LARGE: ReadonlySet<string> = new Set(['transaction-wide', 'outbox', 'parking-wide'])

/** Where no terminal rewrites the line. */
const PROGRESS_EVERY_MS = 15_000

/** What was run of one scenario. */
interface Tally {
  readonly seeds: string
  schedules: number
  steps: number
  seconds: number
}

interface Summary {
  readonly schedules: number
  readonly violations: number
  readonly seconds: number
  readonly perSecond: number
  readonly workers: number
  readonly node: string
  readonly processor: string
  readonly date: string
  readonly scenarios: Readonly<Record<string, Tally>>
  /** The line that replays the first violation. */
  readonly replay?: string
}

if (values.help) console.log(USAGE)
else process.exitCode = await main()

async function main(): Promise<number> {
  const names = values.scenario === undefined ? Object.keys(scenarios) : [values.scenario]
  const [wanted, from, workers] = [values.schedules, values.from, values.workers].map(Number)
  if (!wanted || !from || !workers || names.some((name) => !(name in scenarios))) {
    console.error(USAGE)
    return 2
  }
  const summary = await simulate(names, { wanted, from, workers })
  print(summary)
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(summary, undefined, 2)}\n`)
  return summary.violations === 0 ? 0 : 1
}

async function simulate(
  names: readonly string[],
  { wanted, from, workers }: { wanted: number; from: number; workers: number },
): Promise<Summary> {
  const weights = names.map((name) => (LARGE.has(name) ? 1 : 5))
  const weight = weights.reduce((sum, one) => sum + one, 0)
  const tallies: Record<string, Tally> = {}
  const shares = names.flatMap((name, index) => {
    const each = Math.ceil((wanted * (weights[index] ?? 1)) / weight)
    tallies[name] = { seeds: `${from}–${from + each - 1}`, schedules: 0, steps: 0, seconds: 0 }
    return Array.from({ length: Math.ceil(each / SHARE) }, (_, i) => ({
      name,
      firstSeed: from + i * SHARE,
      seeds: Math.min(SHARE, each - i * SHARE),
    }))
  })
  // The scenarios in turns, so that a failure of any shows early.
  shares.sort((a, b) => a.firstSeed - b.firstSeed)
  const startedMs = performance.now()
  const replays: string[] = []
  let shownMs = startedMs

  async function work(): Promise<void> {
    for (let share = shares.shift(); share !== undefined && replays.length === 0; share = shares.shift()) {
      const { scenario, schedules, steps, seconds, failure } = await run(share.name, share.firstSeed, share.seeds)
      const tally = tallies[scenario]
      if (tally !== undefined) {
        tally.schedules += schedules
        tally.steps += steps
        tally.seconds = Math.round((tally.seconds + seconds) * 10) / 10
      }
      if (failure !== undefined) {
        replays.push(failure.line)
        console.error(`\n${failure.report}\n`)
      }
      progress(share.firstSeed + share.seeds - 1)
    }
  }

  function soFar(): { schedules: number; seconds: number; perSecond: number } {
    const schedules = Object.values(tallies).reduce((sum, tally) => sum + tally.schedules, 0)
    const seconds = (performance.now() - startedMs) / 1000
    return { schedules, seconds: Math.round(seconds * 10) / 10, perSecond: Math.round(schedules / seconds) }
  }

  function progress(seed: number): void {
    const { schedules, perSecond } = soFar()
    const line = `${schedules} of ${wanted} schedules, ${perSecond}/s, seeds up to ${seed}, ${replays.length} violations`
    if (process.stdout.isTTY) process.stdout.write(`\r${line}   `)
    else if (performance.now() - shownMs >= PROGRESS_EVERY_MS) {
      shownMs = performance.now()
      console.log(line)
    }
  }

  await Promise.all(Array.from({ length: workers }, work))
  return {
    ...soFar(),
    violations: replays.length,
    workers,
    node: process.version,
    processor: `${availableParallelism()} × ${cpus()[0]?.model ?? 'unknown'}`,
    date: new Date().toISOString().slice(0, 10),
    scenarios: tallies,
    ...(replays[0] !== undefined && { replay: replays[0] }),
  }
}

function print({ scenarios, schedules, violations, seconds, perSecond, workers, node }: Summary): void {
  const row = (name: string, ...cells: readonly (string | number)[]) =>
    `${name.padEnd(20)} ${cells.map((cell) => `${cell}`.padStart(11)).join(' ')}`
  console.log(`\n${row('scenario', 'seeds', 'schedules', 'steps each', 'per s')}`)
  for (const [name, tally] of Object.entries(scenarios)) {
    const each = Math.round(tally.steps / Math.max(1, tally.schedules))
    const rate = Math.round(tally.schedules / Math.max(0.001, tally.seconds))
    console.log(row(name, tally.seeds, tally.schedules, each, rate))
  }
  console.log(
    `\n${schedules} schedules in ${Math.round(seconds)} s, ${perSecond} per second, ${violations} violations, with ${workers} processes, Node ${node}`,
  )
}

async function run(name: string, firstSeed: number, seeds: number): Promise<Share> {
  const worker = join(import.meta.dirname, 'simulated/worker.ts')
  // Errors are made by the thousand here, and nobody reads their stacks.
  const flags = ['--stack-trace-limit=0', '--max-semi-space-size=64', '--disable-warning=ExperimentalWarning']
  const child = spawn(process.execPath, [...flags, worker, name, `${firstSeed}`, `${seeds}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const out: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
  const [code] = (await once(child, 'close')) as [number | null]
  if (code !== 0) throw new Error(`the worker for ${name} from seed ${firstSeed} ended with ${code}`)
  return JSON.parse(Buffer.concat(out).toString()) as Share
}
