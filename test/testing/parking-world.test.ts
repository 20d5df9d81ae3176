import { describe, expect, it } from 'vitest'
import { parkedClaims, parks, type StoreThatParks } from '../../scripts/chaos/simulated/parking-store.ts'
import { parkingScenario } from '../../scripts/chaos/simulated/parking-world.ts'
import { parkingStoreContract } from '../../src/testing/contracts/parking-store-contract.ts'
import { boring, seeded } from '../../src/testing/explorer/choosers.ts'
import { search } from '../../src/testing/explorer/explorer.ts'
import { ambient } from '../../src/testing/world/ambient.ts'
import { simulatedProcess } from '../../src/testing/world/process.ts'
import { simulatedDatabase } from '../../src/testing/world/simulated-database.ts'
import { simulation } from '../../src/testing/world/simulation.ts'
import { runSchedule } from '../../src/testing/world/world.ts'

/** The simulation would prove a fiction if its store parked in another way than the real ones. */
describe('the simulated database parks as the contract says', () => {
  for (const { name, run } of parkingStoreContract(create)) it(name, run)
})

describe('the world with parking', () => {
  it('parks a head, appends its followers and runs them in order, if nothing goes wrong', async () => {
    const { simulation: run, ledger } = await runSchedule(parkingScenario(), boring, { record: true })
    expect(run.violation).toBeUndefined()
    const told = run.lines.map(({ text }) => text)
    expect(told).toEqual(expect.arrayContaining(['park m1 → ok', 'append m2 → appended', 'append m3 → appended']))
    const done = ledger.entries.filter(({ kind }) => kind === 'completed').map(({ messageId }) => messageId)
    expect(done).toEqual(['m1', 'm2', 'm3', 'm4'])
  })

  it('appends in one run what came in together', async () => {
    const { simulation: run } = await runSchedule(parkingScenario({ together: true }), boring, { record: true })
    expect(run.violation).toBeUndefined()
    expect(run.lines.map(({ text }) => text)).toContain('append m2, m3, m4 → appended, appended, appended')
  })

  it('blocks a key at its dead head; the operator runs it again, and drops it if it dies again', async () => {
    const real = ambient()
    const seen = new Set<string>()
    const scenario = parkingScenario({ whenDead: 'block-key' })
    try {
      for (let seed = 1; seed <= 60 && seen.size < 2; seed++) {
        const { simulation: run } = await runSchedule(scenario, seeded(seed, ['poison'], 10), { record: true })
        expect(run.violation).toBeUndefined()
        for (const { who, text } of run.lines) if (who === 'operator') seen.add(text.split(' ')[0] ?? '')
      }
      expect(seen).toEqual(new Set(['unblocks', 'drops']))
    } finally {
      real()
    }
  })
})

it(
  'P-1: a lane that is ended without a look at its tail lets others past what was appended',
  { timeout: 120_000 },
  async () => {
    const real = ambient()
    try {
      const { found } = await search(parkingScenario({ bug: 'free-blindly' }), { seeds: 1_000 })
      expect(found?.run.simulation.violation?.invariant).toBe('no-overtaking')
    } finally {
      real()
    }
  },
)

function create() {
  const world = simulation({ chooser: boring, maxSteps: Infinity })
  const database = simulatedDatabase({
    simulation: world,
    onCommit: () => {},
    beside: (claims) => parkedClaims(world, claims),
  })
  const made = database.storeFor(simulatedProcess('A'))
  if (!parks(made)) throw new TypeError('it parks')
  let running: Promise<void> | undefined

  /** The world goes on until nothing is left to do; calls made at once are part of one run. */
  async function settle(): Promise<void> {
    running ??= world.run().finally(() => (running = undefined))
    await running
  }

  const calls = Object.entries(made).map(([name, call]: [string, unknown]) => [
    name,
    typeof call !== 'function'
      ? call
      : async (...args: unknown[]) => {
          const [answer] = await Promise.all([Reflect.apply(call, made, args) as unknown, settle()])
          return answer
        },
  ])
  return {
    store: Object.fromEntries(calls) as StoreThatParks,
    async advance(ms: number) {
      world.later(ms, 'time passes', () => {})
      await settle()
    },
  }
}
