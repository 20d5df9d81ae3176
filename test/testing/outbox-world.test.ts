import { expect, it } from 'vitest'
import { outboxScenario } from '../../scripts/chaos/simulated/outbox-world.ts'
import { search } from '../../src/testing/explorer/explorer.ts'

it('O-1, O-2: relays over snapshot windows lose nothing and keep the order of keys, whatever goes wrong', async () => {
  const { found, schedules } = await search(outboxScenario(), { seeds: 300 })
  expect(found?.run.simulation.violation).toBeUndefined()
  expect(schedules).toBe(301)
})

it(
  'O-11: clean-up without the guard loses what a relay that stood still had not read',
  { timeout: 60_000 },
  async () => {
    const { found } = await search(outboxScenario({ unguarded: true }), { seeds: 1_000 })
    expect(found?.run.simulation.violation?.invariant).toBe('no-loss')
  },
)
