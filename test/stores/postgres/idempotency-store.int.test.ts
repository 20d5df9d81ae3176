import { it } from 'vitest'
import { migrate, postgresIdempotencyStore } from '../../../src/stores/postgres/index.ts'
import { idempotencyStoreContract } from '../../../src/testing/idempotency-store-contract.ts'
import { setTimeout as sleep } from 'node:timers/promises'
import { createTestPool } from '../../support/test-pool.ts'
import { describeWith } from '../../support/services.ts'

describeWith(['postgres'], 'the idempotency store contract, in PostgreSQL', () => {
  const create = async () => {
    const { pool, schema, dispose } = await createTestPool({ max: 4 })
    await migrate(pool, { schema })
    return { store: postgresIdempotencyStore(pool, { schema }), advance: (ms: number) => sleep(ms), dispose }
  }
  for (const { name, run } of idempotencyStoreContract(create)) it(name, run)
})
