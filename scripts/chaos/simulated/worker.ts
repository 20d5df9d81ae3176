import { ambient } from '../../../src/testing/world/ambient.ts'
import { search } from '../../../src/testing/explorer/explorer.ts'
import { report } from '../../../src/testing/explorer/report.ts'
import { toLine } from '../../../src/testing/explorer/schedule.ts'
import { shrink } from '../../../src/testing/explorer/shrink.ts'
import { scenarios } from './scenarios.ts'

/** What one process tells about a share of the seeds. */
export interface Share {
  readonly scenario: string
  readonly schedules: number
  readonly steps: number
  readonly seconds: number
  readonly failure?: { readonly line: string; readonly report: string }
}

const [name = '', firstSeed = '1', seeds = '1000'] = process.argv.slice(2)
const build = scenarios[name]
if (build === undefined) throw new RangeError(`there is no scenario '${name}': ${Object.keys(scenarios).join(', ')}`)
const real = ambient()
const scenario = { ...(await build()), name }
const { found, schedules, steps, seconds } = await search(scenario, {
  firstSeed: Number(firstSeed),
  seeds: Number(seeds),
})
const share: Share = {
  scenario: name,
  schedules,
  steps,
  seconds,
  ...(found !== undefined && { failure: await failure() }),
}
real()
console.log(JSON.stringify(share))

async function failure() {
  if (found === undefined) throw new RangeError('nothing was found')
  const invariant = found.run.simulation.violation?.invariant ?? ''
  const shrunk = await shrink(scenario, found.deviations, invariant)
  return { line: toLine(shrunk.schedule), report: report(name, { found, schedules }, shrunk) }
}
