import { describe, expect, it } from 'vitest'
import { explore } from '../../scripts/model/parking/explore.ts'
import { plants, type Plant, type PlantName } from '../../scripts/model/parking/plants.ts'
import { sizes } from '../../scripts/model/parking/sizes.ts'

describe('the model of parking', () => {
  it('keeps every promise, in every order of the small size', () => {
    const { violation, whole, states } = explore({ ...sizes.small, crashes: 0 }, undefined)
    expect(violation).toBeUndefined()
    expect(whole).toBe(true)
    expect(states).toBeGreaterThan(1_000)
  })

  it.each(Object.keys(plants) as PlantName[])('finds what is planted: %s, and nothing where it is not', (name) => {
    const plant: Plant = plants[name]
    const size = { ...sizes.small, ...plant.size }
    expect(explore(size, name).violation).toBeDefined()
    expect(explore(size, undefined).violation).toBeUndefined()
  })
})
