import { expect, it } from 'vitest'
import { committedHash, fingerprint, own, ownSeeds, restless } from './fixtures/fingerprint.ts'

// `test/package/oldest-node.test.ts` asks the oldest Node for both.
it('runs the same schedules on every machine and every version of Node', async () => {
  expect(await fingerprint(restless, 500)).toBe(committedHash)
})

it('runs the same schedules over our own stack twice', async () => {
  expect(await fingerprint(own, ownSeeds)).toBe(await fingerprint(own, ownSeeds))
})
