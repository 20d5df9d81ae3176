import { describe, expect, it } from 'vitest'
import { explore } from '../../scripts/model/redrive/explore.ts'
import { plants, Rules, type Plant, type PlantName } from '../../scripts/model/redrive/plants.ts'
import { sizes } from '../../scripts/model/redrive/sizes.ts'

describe('the model of a redrive', () => {
  it.each(['destination', 'pipeline'] as const)('keeps every invariant in the whole small space, route %s', (route) => {
    const { states, whole, violation } = explore(new Rules(route, undefined), sizes.small)
    expect(violation).toBeUndefined()
    expect(whole).toBe(true)
    // Less would mean that something cannot happen any more.
    expect(states).toBeGreaterThan(5000)
  })

  it.each(Object.entries<Plant>(plants).filter(([, plant]) => plant.large !== true))(
    'finds the plant %s',
    (name, { needs, route = 'destination', violates }) => {
      const { violation } = explore(new Rules(route, name as PlantName), { ...sizes.small, ...needs })
      expect(violation?.what).toContain(violates)
      expect(violation?.steps.length).toBeGreaterThan(3)
    },
  )
})
