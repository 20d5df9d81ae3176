import { describe, expect, it } from 'vitest'
import { search } from '../../src/testing/explorer/explorer.ts'
import { scenarioOf } from '../../src/testing/explorer/explore.ts'
import { ambient } from '../../src/testing/world/ambient.ts'
import { burstOfFailures, plantedBugs } from './planted-bugs.ts'

/** The meta-test: a kit that finds nothing proves nothing. */
describe('the explorer finds, within a thousand schedules, and shrinks to at most four deviations', () => {
  it.for(Object.entries(plantedBugs))('%s', { timeout: 120_000 }, async ([, bug]) => {
    const { schedules, invariant, deviations, line } = await bug.hunt(1)
    expect(schedules).toBeDefined()
    expect(invariant).toBe(bug.breaks)
    expect(deviations, line).toBeLessThanOrEqual(4)
  })
})

it('finds nothing where the lanes probe in turns', { timeout: 120_000 }, async () => {
  const real = ambient()
  try {
    const { found, schedules } = await search(await scenarioOf(burstOfFailures), { seeds: 50 })
    expect(found?.run.simulation.violation).toBeUndefined()
    expect(schedules).toBe(51)
  } finally {
    real()
  }
})
