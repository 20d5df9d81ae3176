import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { it } from 'vitest'
import {
  migrate,
  postgresIdempotencyStore,
  postgresjsRunner,
  preparedRunner,
} from '../../../src/stores/postgres/index.ts'
import { parkingStoreContract } from '../../../src/testing/contracts/parking-store-contract.ts'
import { describeWith, postgres18Url } from '../../support/services.ts'
import { createTestPool } from '../../support/test-pool.ts'

describeWith(['postgres'], 'the parking store contract, in PostgreSQL', () => {
  const create = async () => {
    const { pool, schema, dispose } = await createTestPool({ max: 8 })
    await migrate(pool, { schema })
    return { store: postgresIdempotencyStore(pool, { schema }), advance: (ms: number) => sleep(ms), dispose }
  }
  for (const { name, run } of parkingStoreContract(create)) it(name, run)
})

describeWith(['postgres18'], 'the parking store contract, in PostgreSQL 18', () => {
  const create = async () => {
    const { pool, schema, dispose } = await createTestPool({ connectionString: postgres18Url(), max: 8 })
    await migrate(pool, { schema })
    return { store: postgresIdempotencyStore(pool, { schema }), advance: (ms: number) => sleep(ms), dispose }
  }
  for (const { name, run } of parkingStoreContract(create)) it(name, run)
})

describeWith(['postgres'], 'the parking store contract, in PostgreSQL through prepared statements', () => {
  const create = async () => {
    const { pool, schema, dispose } = await createTestPool({ max: 8 })
    await migrate(pool, { schema })
    const store = postgresIdempotencyStore(preparedRunner(pool), { schema, inside: true })
    return { store, advance: (ms: number) => sleep(ms), dispose }
  }
  for (const { name, run } of parkingStoreContract(create)) it(name, run)
})

describeWith(['postgres'], 'the parking store contract, in PostgreSQL through postgres.js', () => {
  const create = async () => {
    const { pool, schema, url, dispose } = await createTestPool({ max: 2 })
    await migrate(pool, { schema })
    const sql = postgres(url, { max: 4, fetch_types: false, transform: postgres.camel, onnotice: () => {} })
    const end = async () => {
      await sql.end({ timeout: 0 })
      await dispose()
    }
    const store = postgresIdempotencyStore(postgresjsRunner(sql), { schema })
    return { store, advance: (ms: number) => sleep(ms), dispose: end }
  }
  for (const { name, run } of parkingStoreContract(create)) it(name, run)
})
