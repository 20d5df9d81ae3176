import { parseArgs } from 'node:util'
import { up } from '../services/manager.ts'
import { serviceNamed } from '../services/table.ts'
import { violationsOf, type Report, type Scenario, type ServiceName } from './scenario.ts'
import { groups, scenarioNamed } from './scenarios.ts'

const USAGE = `Usage: npm run chaos -- --scenario name [--seed n] [--minutes n] [--full] [--broken name]

Injects a fault into real servers and counts what came of it; exits with 1 where the promise was broken.

  --minutes  at least so long, where the scenario can be made longer    (default: 0)
  --full     at full length                                             (default: shortened)
  --broken   plants a fault in our code, which the run must find
  --list     this list of the scenarios
${groups
  .filter(({ scenarios }) => scenarios.length > 0)
  .map(({ title, scenarios }) => `\n  ${title}\n${scenarios.map(line).join('\n')}`)
  .join('\n')}`

const { values: flags } = parseArgs({
  options: {
    scenario: { type: 'string' },
    seed: { type: 'string', default: `${Math.floor(Math.random() * 1e6) + 1}` },
    minutes: { type: 'string', default: '0' },
    full: { type: 'boolean', default: false },
    broken: { type: 'string' },
    list: { type: 'boolean', default: false },
  },
})
const scenario = scenarioNamed(flags.scenario)
const [seed, minutes] = [Number(flags.seed), Number(flags.minutes)]
const knows = flags.broken === undefined || Object.hasOwn(scenario?.breaks ?? {}, flags.broken)
if (flags.list) console.log(USAGE)
else if (scenario === undefined || !Number.isSafeInteger(seed) || !(minutes >= 0) || !knows) {
  console.error(USAGE)
  process.exitCode = 2
} else process.exitCode = (await run(scenario)) ? 0 : 1

async function run({ name, what, promise, needs, run: start }: Scenario): Promise<boolean> {
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort(new Error(signal)))
  const say = (line: string) => console.error(`  ${line}`)
  const planted = flags.broken === undefined ? '' : `, planted: ${flags.broken}`
  console.error(`${name}, seed ${seed}${planted}: ${what}`)
  const urls = new Map<ServiceName, string>()
  for (const service of needs) urls.set(service, (await up(serviceNamed(service), say)).url)
  const startedMs = performance.now()
  const report = await start({
    ...{ seed, full: flags.full, minutes, broken: flags.broken, say, signal: interrupted.signal },
    url(service) {
      const url = urls.get(service)
      if (url === undefined) throw new Error(`${name} does not name ${service} in its needs`)
      return url
    },
  })
  const violations = [...violationsOf(report), ...(interrupted.signal.aborted ? ['interrupted'] : [])]
  print(report, Math.round((performance.now() - startedMs) / 1000))
  console.log(violations.length === 0 ? `kept: ${promise}` : `BROKEN: ${violations.join('; ')} (promised: ${promise})`)
  // To the process that started us, if it listens.
  process.send?.({ report, violations })
  if (process.connected) process.disconnect()
  return violations.length === 0
}

function print({ injected, messages, lost, doubled, outOfOrder, recoveryMs, notes }: Report, seconds: number): void {
  const faults = Object.entries(injected).map(([fault, count]) => [`injected: ${fault}`, count])
  const figures = Object.entries({ messages, lost, doubled, outOfOrder: outOfOrder ?? '-' })
  const times = Object.entries({ recoveryMs: recoveryMs === null ? '-' : Math.round(recoveryMs), seed, seconds })
  for (const [what, count] of [...faults, ...figures, ...times]) console.log(`  ${`${what}`.padEnd(34)} ${count}`)
  if (notes !== undefined) console.log(`  ${notes}`)
}

function line({ name, what, breaks = {} }: Scenario): string {
  const planted = Object.entries(breaks).map(([one, does]) => `\n${' '.repeat(26)}--broken ${one}: ${does}`)
  return `    ${name.padEnd(21)} ${what}${planted.join('')}`
}
