import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { scenarios } from './simulated/scenarios.ts'
import type { Share } from './simulated/worker.ts'

const USAGE = `Usage: npm run chaos:simulate -- [--schedules 1000000] [--scenario name] [--from seed] [--workers n]

Runs our own stack in the simulated world, every schedule once, until one breaks an invariant.

  Scenarios: ${Object.keys(scenarios).join(' ')}`

const { values } = parseArgs({
  options: {
    schedules: { type: 'string', default: '20000' },
    scenario: { type: 'string' },
    from: { type: 'string', default: '1' },
    workers: { type: 'string', default: `${availableParallelism()}` },
    help: { type: 'boolean', default: false },
  },
})

// Small enough that progress shows, large enough that starting a process does not count.
const SHARE = 10_000

/** Long runs take most of the time and few of the schedules. */
const LARGE: ReadonlySet<string> = new Set(['transaction-wide', 'outbox'])

if (values.help) console.log(USAGE)
else process.exitCode = (await simulate(values)) ? 0 : 1

async function simulate(options: { schedules: string; scenario?: string; from: string; workers: string }) {
  const names = options.scenario === undefined ? Object.keys(scenarios) : [options.scenario]
  const [wanted, from, workers] = [options.schedules, options.from, options.workers].map(Number)
  if (!wanted || !from || !workers || names.some((name) => !(name in scenarios))) {
    console.error(USAGE)
    return false
  }
  const weights = names.map((name) => (LARGE.has(name) ? 1 : 5))
  const weight = weights.reduce((sum, one) => sum + one, 0)
  const shares = names.flatMap((name, index) => {
    const each = Math.ceil((wanted * (weights[index] ?? 1)) / weight)
    return Array.from({ length: Math.ceil(each / SHARE) }, (_, i) => ({
      name,
      firstSeed: from + i * SHARE,
      seeds: Math.min(SHARE, each - i * SHARE),
    }))
  })
  // The scenarios in turns, so that a failure of any shows early.
  shares.sort((a, b) => a.firstSeed - b.firstSeed)
  const tally = new Map<string, { schedules: number; steps: number; seconds: number }>()
  const startedMs = performance.now()
  let failed = false

  async function work(): Promise<void> {
    for (let share = shares.shift(); share !== undefined && !failed; share = shares.shift()) {
      const { scenario, schedules, steps, seconds, failure } = await run(share.name, share.firstSeed, share.seeds)
      const sum = tally.get(scenario) ?? { schedules: 0, steps: 0, seconds: 0 }
      tally.set(scenario, {
        schedules: sum.schedules + schedules,
        steps: sum.steps + steps,
        seconds: sum.seconds + seconds,
      })
      if (failure !== undefined) {
        failed = true
        console.error(`\n${failure.report}\n`)
      }
      progress()
    }
  }

  function progress(): void {
    const all = [...tally.values()].reduce((sum, { schedules }) => sum + schedules, 0)
    const seconds = (performance.now() - startedMs) / 1000
    if (process.stdout.isTTY) process.stdout.write(`\r${all} schedules, ${Math.round(all / seconds)}/s   `)
  }

  await Promise.all(Array.from({ length: workers }, work))
  summarise(tally, (performance.now() - startedMs) / 1000, workers)
  return !failed
}

function summarise(
  tally: ReadonlyMap<string, { schedules: number; steps: number; seconds: number }>,
  seconds: number,
  workers: number,
): void {
  let all = 0
  console.log(
    `\n${'scenario'.padEnd(20)} ${'schedules'.padStart(10)} ${'steps each'.padStart(10)} ${'per s'.padStart(8)}`,
  )
  for (const [name, sum] of tally) {
    all += sum.schedules
    const steps = Math.round(sum.steps / sum.schedules)
    const rate = Math.round(sum.schedules / sum.seconds)
    console.log(
      `${name.padEnd(20)} ${`${sum.schedules}`.padStart(10)} ${`${steps}`.padStart(10)} ${`${rate}`.padStart(8)}`,
    )
  }
  const rate = Math.round(all / seconds)
  console.log(
    `\n${all} schedules in ${Math.round(seconds)} s, ${rate} per second with ${workers} processes, Node ${process.version}`,
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
