import { parseArgs } from 'node:util'
import { chaosScenarios, runScenario } from './scenarios.ts'

const USAGE = `Usage: npm run chaos -- --scenario name [--seed n] [--minutes n] [--full]

${Object.entries(chaosScenarios)
  .map(([name, { what }]) => `  ${name.padEnd(14)} ${what}`)
  .join('\n')}

  --minutes  at least so long, where the scenario can be made longer    (default: 0)
  --full     at full length                                             (default: shortened)`

const { values } = parseArgs({
  options: {
    scenario: { type: 'string' },
    seed: { type: 'string', default: `${Math.floor(Math.random() * 1e6) + 1}` },
    minutes: { type: 'string', default: '0' },
    full: { type: 'boolean', default: false },
  },
})
const scenario = chaosScenarios[values.scenario ?? '']
const [seed, minutes] = [Number(values.seed), Number(values.minutes)]
if (scenario === undefined || !Number.isSafeInteger(seed) || !(minutes >= 0)) {
  console.error(USAGE)
  process.exitCode = 2
} else {
  const { code } = await runScenario(scenario, { seed, minutes, full: values.full })
  process.exitCode = code ?? 1
}
