/**
 * Every order of what can happen to one dead letter: two consumers, two redrive workers, an operator, kills, leases that
 * end, redeliveries, clean-up. `npm run model:redrive -- [--route pipeline|destination] [--size small|full] [--plant name]`
 */
import { parseArgs } from 'node:util'
import { nearest } from '../../../src/core/nearest.ts'
import { explore, type Explored } from './explore.ts'
import { isPlant, plants, Rules, type Plant, type PlantName, type Route } from './plants.ts'
import { sizes } from './sizes.ts'

const { values } = parseArgs({
  options: {
    plant: { type: 'string' },
    plants: { type: 'boolean', default: false },
    route: { type: 'string' },
    size: { type: 'string', default: 'full' },
  },
})
const say = (text: string): void => void process.stdout.write(`${text}\n`)

const size = values.size === 'small' ? sizes.small : sizes.full
const routes: readonly Route[] =
  values.route === 'pipeline' || values.route === 'destination' ? [values.route] : ['destination', 'pipeline']

function tell(name: string, { states, whole, completedButDead, violation }: Explored, ms: number): void {
  const how = whole ? 'the whole space' : 'until the first violation'
  say(`${name}: ${states.toLocaleString('en')} states, ${how}, in ${(ms / 1000).toFixed(1)} s`)
  if (violation !== undefined) {
    say(`  ${violation.what}`)
    violation.steps.forEach((step, at) => say(`  ${String(at + 1).padStart(3)}  ${step}`))
  } else say(`  every invariant held; completed and still shown as dead in ${completedButDead} end states`)
}

function run(name: string, rules: Rules, budget: typeof size): Explored {
  const from = performance.now()
  const explored = explore(rules, budget)
  tell(name, explored, performance.now() - from)
  return explored
}

function runPlant(name: PlantName): boolean {
  const { does, needs, route = 'destination' }: Plant = plants[name]
  say(`plant ${name}: ${does}`)
  const budget = { ...sizes.small, ...needs }
  return run(`  route ${route}`, new Rules(route, name), budget).violation !== undefined
}

if (values.plants) {
  const missed = (Object.keys(plants) as PlantName[]).filter((name) => !runPlant(name))
  say(missed.length === 0 ? 'every plant was found' : `NOT found: ${missed.join(', ')}`)
  process.exitCode = missed.length === 0 ? 0 : 1
} else if (values.plant !== undefined) {
  if (!isPlant(values.plant)) {
    const near = nearest(values.plant, Object.keys(plants))
    say(`there is no plant ${values.plant}${near === undefined ? '' : `; did you mean ${near}?`}`)
    say(`plants: ${Object.keys(plants).join(', ')}`)
    process.exitCode = 2
  } else process.exitCode = runPlant(values.plant) ? 1 : 0
} else {
  const explored = routes.map((route) => run(`route ${route}`, new Rules(route, undefined), size))
  const states = explored.reduce((sum, each) => sum + each.states, 0)
  say(`${states.toLocaleString('en')} states in all`)
  process.exitCode = explored.some(({ violation }) => violation !== undefined) ? 1 : 0
}
