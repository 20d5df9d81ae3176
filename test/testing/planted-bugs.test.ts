import { describe, expect, it } from 'vitest'
import { plantedBugs } from './planted-bugs.ts'

/** The meta-test: a kit that finds nothing proves nothing. */
describe('the explorer finds, within a thousand schedules, and shrinks to at most four deviations', () => {
  it.for(Object.entries(plantedBugs))('%s', { timeout: 120_000 }, async ([, bug]) => {
    const { schedules, invariant, deviations, line } = await bug.hunt(1)
    expect(schedules).toBeDefined()
    expect(invariant).toBe(bug.breaks)
    expect(deviations, line).toBeLessThanOrEqual(4)
  })
})
