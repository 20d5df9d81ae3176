import { describe, expect, it } from 'vitest'
import { scenarios } from '../../scripts/chaos/simulated/scenarios.ts'
import { search } from '../../src/testing/explorer/explorer.ts'
import { ambient } from '../../src/testing/world/ambient.ts'

/** The first of the schedules that `npm run chaos:simulate` runs by the million. */
describe('our own stack in the simulated world', () => {
  it.for(Object.entries(scenarios))('breaks no invariant: %s', { timeout: 60_000 }, async ([, build]) => {
    const real = ambient()
    try {
      const { found, schedules } = await search(await build(), { seeds: 60 })
      expect(found?.run.simulation.violation).toBeUndefined()
      expect(schedules).toBe(61)
    } finally {
      real()
    }
  })
})
