import { expect, it } from 'vitest'
import { fingerprint, restless } from './fixtures/fingerprint.ts'
import { ourStack } from '../../scripts/chaos/simulated/scenarios.ts'

// `node test/testing/fixtures/fingerprint.ts` prints it. It changes only with the simulation itself.
const COMMITTED = 'a86194ad'

it('runs the same schedules on every machine and every version of Node', async () => {
  expect(await fingerprint(restless, 500)).toBe(COMMITTED)
})

it('runs the same schedules over our own stack twice', async () => {
  const options = { pipeline: ourStack, messages: 3 }
  expect(await fingerprint(options, 200)).toBe(await fingerprint(options, 200))
})
