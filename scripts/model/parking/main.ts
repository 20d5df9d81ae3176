/**
 * Every order of what can happen to the messages of one key: consumers that are rebalanced, parking workers, crashes, leases
 * that end, operators, clean-up. `npm run model:parking -- [--size small | continue | block | letters] [--plants] [--plant name]`
 */
import { parseArgs } from 'node:util'
import { nearest } from '../../../src/core/nearest.ts'
import { explore, type Explored } from './explore.ts'
import { isPlant, plants, type Plant, type PlantName } from './plants.ts'
import { sizes } from './sizes.ts'
import type { Size } from './state.ts'

const { values } = parseArgs({
  options: { plant: { type: 'string' }, plants: { type: 'boolean', default: false }, size: { type: 'string' } },
})
const say = (text: string): void => void process.stdout.write(`${text}\n`)

function run(name: string, size: Size, plant: PlantName | undefined): Explored {
  const startMs = performance.now()
  const explored = explore(size, plant)
  const { states, whole, ends, violation } = explored
  const how = whole ? 'the whole space' : 'until the first violation'
  say(
    `${name}: ${states.toLocaleString('en')} states, ${how}, in ${((performance.now() - startMs) / 1000).toFixed(1)} s`,
  )
  if (violation === undefined) say(`  every promise held; ${ends} good ends`)
  else {
    say(`  ${violation.what}`)
    violation.steps.forEach((step, at) => say(`  ${String(at + 1).padStart(3)}  ${step}`))
  }
  return explored
}

function finds(name: PlantName): boolean {
  const plant: Plant = plants[name]
  say(`plant ${name}: ${plant.does}`)
  return run('  planted', { ...sizes.small, ...plant.size }, name).violation !== undefined
}

const named = Object.entries(sizes).filter(([name]) => values.size === undefined || name === values.size)
if (values.plants) {
  const missed = (Object.keys(plants) as PlantName[]).filter((name) => !finds(name))
  say(missed.length === 0 ? 'every plant was found' : `NOT found: ${missed.join(', ')}`)
  process.exitCode = missed.length === 0 ? 0 : 1
} else if (values.plant !== undefined) {
  if (isPlant(values.plant)) process.exitCode = finds(values.plant) ? 1 : 0
  else {
    const near = nearest(values.plant, Object.keys(plants))
    say(
      `there is no plant ${values.plant}${near === undefined ? '' : `; did you mean ${near}?`}: ${Object.keys(plants).join(', ')}`,
    )
    process.exitCode = 2
  }
} else if (named.length === 0) {
  say(`there is no size ${values.size ?? ''}: ${Object.keys(sizes).join(', ')}`)
  process.exitCode = 2
} else {
  const explored = named.map(([name, size]) => run(name, size, undefined))
  say(`${explored.reduce((sum, { states }) => sum + states, 0).toLocaleString('en')} states in all`)
  process.exitCode = explored.some(({ violation }) => violation !== undefined) ? 1 : 0
}
