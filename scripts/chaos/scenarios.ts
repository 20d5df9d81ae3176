import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

/** A run that injects faults and counts what came of it. */
export interface ChaosScenario {
  readonly what: string
  readonly script: string
  readonly args: (how: { readonly seed: number; readonly minutes: number; readonly full: boolean }) => readonly string[]
}

export const chaosScenarios: Readonly<Record<string, ChaosScenario>> = {
  simulated: {
    what: 'our own stack in the simulated world, all faults of the kit',
    script: 'simulate.ts',
    args: ({ seed, full }) => ['--from', `${seed}`, '--schedules', full ? '1000000' : '20000'],
  },
  kafka: {
    what: 'real Kafka and PostgreSQL: consumers killed with -9 and stopped past their sessions',
    script: 'kafka/main.ts',
    args: ({ seed, minutes, full }) => kafka(seed, minutes, full),
  },
  'kafka-ordered': {
    what: 'the same with the order of keys watched',
    script: 'kafka/main.ts',
    args: ({ seed, minutes, full }) => ['--ordered', ...kafka(seed, minutes, full)],
  },
  outbox: {
    what: 'real PostgreSQL, restarted in longer runs: writers of every kind, relays killed and stopped past their leases',
    script: 'outbox/main.ts',
    args: ({ seed, full }) => ['--no-kafka', '--seed', `${seed}`, '--messages', full ? '100000' : '20000'],
  },
}

function kafka(seed: number, minutes: number, full: boolean): readonly string[] {
  return ['--seed', `${seed}`, '--minutes', `${minutes}`, '--messages', full ? '50000' : '12000']
}

/** Runs one to its end, shows what it prints, and gives that back. */
export async function runScenario(
  { script, args }: ChaosScenario,
  how: Parameters<ChaosScenario['args']>[0],
): Promise<{ readonly code: number | null; readonly printed: string; readonly seconds: number }> {
  const flags = ['--disable-warning=TimeoutNegativeWarning', '--disable-warning=ExperimentalWarning']
  const startedMs = performance.now()
  const child = spawn(process.execPath, [...flags, join(import.meta.dirname, script), ...args(how)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const out: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => {
    out.push(chunk)
    process.stdout.write(chunk)
  })
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, printed: Buffer.concat(out).toString(), seconds: (performance.now() - startedMs) / 1000 }
}
