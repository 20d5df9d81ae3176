import { describe, it } from 'vitest'
import { boring } from '../../src/testing/explorer/choosers.ts'
import { idempotencyStoreContract } from '../../src/testing/contracts/idempotency-store-contract.ts'
import { simulatedProcess } from '../../src/testing/world/process.ts'
import { simulatedDatabase } from '../../src/testing/world/simulated-database.ts'
import { simulation } from '../../src/testing/world/simulation.ts'
import type { IdempotencyStore } from '../../src/idempotency/store.ts'

/** The simulation would prove a fiction if its store promised something else than the real ones. */
describe('the store of the simulated database', () => {
  for (const { name, run } of idempotencyStoreContract(create)) it(name, run)
})

function create() {
  const world = simulation({ chooser: boring, maxSteps: Infinity })
  const database = simulatedDatabase({ simulation: world, onCommit: () => {} })
  const { claim, renew, complete, release, fail } = database.storeFor(simulatedProcess('A'))
  let running: Promise<void> | undefined

  /** The world goes on until nothing is left to do; calls made at once are part of one run. */
  async function settle(): Promise<void> {
    running ??= world.run().finally(() => (running = undefined))
    await running
  }

  function carriedOut<Args extends unknown[], T>(call: (...args: Args) => Promise<T>): (...args: Args) => Promise<T> {
    return async (...args) => {
      const [answer] = await Promise.all([call(...args), settle()])
      return answer
    }
  }

  const store: IdempotencyStore = {
    name: 'simulated',
    claim: carriedOut(claim),
    renew: carriedOut(renew),
    complete: carriedOut(complete),
    release: carriedOut(release),
    fail: carriedOut(fail),
  }
  return {
    store,
    async advance(ms: number) {
      world.later(ms, 'time passes', () => {})
      await settle()
    },
  }
}
